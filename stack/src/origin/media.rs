//! Makes what `origin` serves without an encoder: the ladder, with ffmpeg's test sources, and the
//! player of the page. Once, into a cache; what is there already stays.

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::ladder::{LOOP_STEP_S, Rung};

/// Arguments of `weir-stack media`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where ladder and player go [default: the folder weir/media in the user's cache]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Length of the loop in seconds, a multiple of 8
    #[arg(long, default_value_t = DEFAULT_SECONDS)]
    seconds: u64,
    /// Leave the player page without hls.js (which npm would fetch)
    #[arg(long)]
    no_player: bool,
}

/// Long enough that a loop is not what one sees first, short enough to be made in half a minute.
pub(crate) const DEFAULT_SECONDS: u64 = 24;

/// Longest loop, which is held in memory: 10 minutes are about 300 MB.
const MOST_SECONDS: u64 = 600;

/// Bumped when the command below changes, so that an older ladder is not taken for a new one.
const EDITION: u32 = 1;

/// hls.js as the page is written for and as measurements are compared with.
const PLAYER: &str = "hls.js@1.7.4";

/// Rung, size and bit rate in kbit/s.
const RUNGS: [(&str, &str, u32); 3] = [
    ("720p", "1280x720", 2500),
    ("480p", "854x480", 1000),
    ("240p", "426x240", 350),
];

/// The rung of the sound.
const SOUND: &str = "audio";

/// Runs `weir-stack media`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = args.out.clone().map_or_else(cache, Ok)?;
    let folder = make(&out, args.seconds)?;
    println!("ladder: {}", folder.display());
    if !args.no_player {
        match fetch_player(&out) {
            Ok(file) => println!("player: {}", file.display()),
            Err(error) => eprintln!("warning: the page will have no player: {error:#}"),
        }
    }
    Ok(())
}

/// `weir/media` in the user's cache (XDG Base Directory Specification).
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set: name a folder with --out")?
        .join("weir/media"))
}

/// hls.js in `out`, where [`run`] puts it.
pub(crate) fn player(out: &Path) -> PathBuf {
    out.join("player/hls.min.js")
}

/// Reads the ladder of `seconds` in `out`, which is made first if it is not there.
///
/// # Errors
/// If it has to be made and ffmpeg is missing or fails, or if it is not what it should be.
pub(crate) fn load(out: &Path, seconds: u64) -> Result<Vec<Rung>> {
    let folder = make(out, seconds)?;
    let names = RUNGS.iter().map(|(name, ..)| *name).chain([SOUND]);
    names
        .map(|name| Rung::read(&folder, name, seconds))
        .collect()
}

/// The folder of the ladder, made if it is not there.
fn make(out: &Path, seconds: u64) -> Result<PathBuf> {
    ensure!(
        seconds > 0 && seconds.is_multiple_of(LOOP_STEP_S) && seconds <= MOST_SECONDS,
        "a loop of {seconds} s: want a multiple of {LOOP_STEP_S}, at most {MOST_SECONDS}"
    );
    let folder = out.join(format!("ladder-{EDITION}-{seconds}s"));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    // Made beside and renamed, so that a folder of that name is always whole.
    let new = out.join(format!(
        ".ladder-{EDITION}-{seconds}s-{}",
        std::process::id()
    ));
    fs::create_dir_all(&new)
        .with_context(|| format!("cannot make the folder {}", new.display()))?;
    let end = encode(&new, seconds).and_then(|()| match fs::rename(&new, &folder) {
        // Another one was faster.
        Err(_) if folder.is_dir() => Ok(()),
        end => {
            end.with_context(|| format!("cannot rename {} to {}", new.display(), folder.display()))
        }
    });
    if new.exists() {
        _ = fs::remove_dir_all(&new);
    }
    end.with_context(|| format!("cannot make the ladder in {}", out.display()))?;
    Ok(folder)
}

fn encode(folder: &Path, seconds: u64) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    command
        .args([
            "-hide_banner",
            "-nostdin",
            "-y",
            "-loglevel",
            "error",
            "-progress",
            "pipe:1",
        ])
        .args(["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30"])
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:beep_factor=4:sample_rate=48000",
        ])
        .args(["-filter_complex", &scale()]);
    for (name, _, rate) in RUNGS {
        command
            .args([
                "-map",
                &format!("[{name}]"),
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
            ])
            .args([
                "-tune",
                "zerolatency",
                "-bf",
                "0",
                "-g",
                "60",
                "-keyint_min",
                "60",
                "-sc_threshold",
                "0",
            ])
            .args([
                "-b:v",
                &format!("{rate}k"),
                "-maxrate",
                &format!("{rate}k"),
                "-bufsize",
                &format!("{rate}k"),
            ])
            .args(["-t", &seconds.to_string()]);
        push_file(&mut command, folder, name);
    }
    // A second more than is used, for the encoder's warm-up.
    command.args([
        "-map",
        "1:a",
        "-c:a",
        "aac",
        "-b:a",
        "96k",
        "-t",
        &(seconds + 1).to_string(),
    ]);
    push_file(&mut command, folder, SOUND);
    run_shown(command, seconds)
}

fn scale() -> String {
    let outs: String = RUNGS
        .iter()
        .map(|(name, ..)| format!("[{name}_in]"))
        .collect();
    let scaled = RUNGS
        .map(|(name, size, _)| format!("[{name}_in]scale={size}[{name}]"))
        .join(";");
    format!("[0:v]format=yuv420p,split={}{outs};{scaled}", RUNGS.len())
}

fn push_file(command: &mut Command, folder: &Path, name: &str) {
    command
        .args([
            "-f",
            "mp4",
            "-movflags",
            "+cmaf+empty_moov+default_base_moof",
            "-frag_duration",
            "200000",
        ])
        .arg(folder.join(name).with_extension("mp4"));
}

fn run_shown(mut command: Command, seconds: u64) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start ffmpeg, which makes the ladder: apt-get install ffmpeg")?;
    let shown = std::io::stderr().is_terminal();
    eprintln!("making a ladder of {seconds} s with ffmpeg, once");
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let Ok(line) = line else { break };
        if let Some(time) = line.strip_prefix("out_time=")
            && shown
        {
            eprint!(
                "\r{} of {seconds} s ",
                time.split('.').next().unwrap_or(time)
            );
        }
    }
    let status = child.wait().context("waiting for ffmpeg")?;
    if shown {
        eprintln!();
    }
    ensure!(
        status.success(),
        "ffmpeg failed ({status}); its words are above"
    );
    Ok(())
}

/// Takes hls.js from the npm registry, if it is not there yet.
fn fetch_player(out: &Path) -> Result<PathBuf> {
    let file = player(out);
    if file.is_file() {
        return Ok(file);
    }
    let folder = out.join("player");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let packed = output(
        Command::new("npm")
            .args(["pack", "--silent", PLAYER])
            .current_dir(&folder),
    )
    .context("npm pack (apt-get install npm)")?;
    let packed = String::from_utf8(packed).context("npm pack")?;
    let tarball = folder.join(
        packed
            .trim()
            .lines()
            .last()
            .context("npm pack named no file")?,
    );
    let unpacked = output(
        Command::new("tar")
            .arg("-xzOf")
            .arg(&tarball)
            .arg("package/dist/hls.min.js"),
    );
    _ = fs::remove_file(&tarball);
    let new = folder.join(format!(".hls.min.js-{}", std::process::id()));
    fs::write(&new, unpacked?).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}
