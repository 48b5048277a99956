//! Runs other programs and says what they said when they fail.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs to the end; the error holds the command line and what it wrote to standard error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// The same, returning standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    finish(command, None)
}

/// The same, with something to read.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<()> {
    finish(command, Some(input)).map(|_| ())
}

fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    let line = line(command);
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(input.as_bytes())
            .with_context(|| format!("writing to `{line}`"))?;
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("waiting for `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{line}` failed ({}): {}",
            output.status,
            said.trim().replace('\n', " | ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_run_and_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("sh -c") && text.contains("why") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_program() {
        assert!(run_with_input(Command::new("grep").arg("-q").arg("word"), "a word\n").is_ok());
    }
}
