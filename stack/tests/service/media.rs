//! What a live stream is made of; what is missing is said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that this test is skipped, and why.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current();
    println!("SKIP {}: {why}", test.name().unwrap_or("test"));
}

/// Whether a program is there; says so if not.
pub(crate) fn program(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(name).is_file()));
    if !found {
        skip(&format!("no {name} (apt-get install {name})"));
    }
    found
}

/// The folder of a ladder of 8 s, made once; nothing without ffmpeg.
pub(crate) fn ladder() -> Option<PathBuf> {
    if !program("ffmpeg") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    let made = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
        .args(["media", "--no-player", "--seconds", "8", "--out"])
        .arg(&folder)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    Some(folder)
}
