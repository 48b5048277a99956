//! The only files that the origin writes are its ladder's: a full disk must not leave half of one.

use std::process::Command;

use crate::media::program;

/// Makes the ladder on a disk too small for it, gives it space, and makes it again; in a mount
/// namespace of its own, so that nothing is left mounted however it ends.
const SCRIPT: &str = r#"
set -eu
program=$1 folder=$2
mount -t tmpfs -o size=96k none "$folder"
if "$program" media --no-player --seconds 8 --out "$folder" 2>"$folder.said"; then
    echo "made on a full disk"; exit 1
fi
cat "$folder.said"
echo "left: $(ls -A "$folder")."
mount -o remount,size=64m "$folder"
"$program" media --no-player --seconds 8 --out "$folder" >"$folder.said" 2>&1
echo "made: $(ls -A "$folder")."
"#;

#[test]
fn a_full_disk_is_named_and_leaves_no_half_of_a_ladder() {
    if !program("ffmpeg") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP a full disk: needs root to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("media");
    std::fs::create_dir(&out).unwrap();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_weir-stack"))
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(
        said.contains(&format!("cannot make the ladder in {}", out.display())),
        "{said}"
    );
    assert!(said.contains("left: .\n"), "{said}");
    assert!(said.contains("made: ladder-1-8s."), "{said}");
}
