//! A command on the node: gets the webhook payload on its standard input.
//!
//! No shell, no environment but `PATH`, its own process group, a time limit, and no more of its
//! output than a line of the log needs.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process;
use tokio::time::timeout;

use super::verdict::Verdict;
use crate::alert::page::Page;
use crate::alert::page::webhook::Payload;
use crate::client::text::readable;

/// Most bytes of output that are kept; the rest is read and thrown away, so that the command does
/// not hang on a full pipe.
const MAX_OUTPUT: usize = 4 << 10;
/// sysexits.h: the command could not do it now and asks to be run again.
const EX_TEMPFAIL: i32 = 75;
/// Where programs that the command starts are looked for.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Command {
    pub(super) receiver: String,
    pub(super) external_url: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) timeout: Duration,
}

/// Ends the whole group when dropped: what the command has started, too.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails if all of them have ended, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Command {
    /// One run. Exit code 0: done. 75, a signal, or too long a time: to be run again. Any other
    /// code: given up.
    pub(super) async fn run(&self, pages: &[Page]) -> Verdict {
        let payload = Payload::new(&self.receiver, &self.external_url, pages);
        let body =
            serde_json::to_vec(&payload).expect("maps with text keys can be written as JSON");
        match timeout(self.timeout, self.exchange(&body)).await {
            Ok(Ok((status, output))) => judge(status, &output),
            Ok(Err(why)) => Verdict::retry(format!("cannot run it: {why}")),
            Err(_) => Verdict::retry(format!("still running after {:?}: ended", self.timeout)),
        }
    }

    async fn exchange(&self, body: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
        let mut child = process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Group(pid.and_then(Pid::from_raw));
        let (input, errors) = (child.stdin.take(), child.stderr.take());
        let write = async {
            if let Some(mut input) = input {
                // A command that does not want to know all of it is no failure.
                let _ = input.write_all(body).await;
            }
        };
        let read = async {
            match errors {
                Some(errors) => read_some(errors).await,
                None => Vec::new(),
            }
        };
        let end = async {
            let status = child.wait().await;
            // Whatever it left behind holds the pipes open.
            drop(group);
            status
        };
        let ((), output, status) = tokio::join!(write, read, end);
        Ok((status?, output))
    }
}

/// The first bytes; the rest is thrown away.
async fn read_some(mut source: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = source.read(&mut buffer).await {
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
    kept
}

fn judge(status: ExitStatus, output: &[u8]) -> Verdict {
    if status.success() {
        return Verdict::Delivered;
    }
    let cause = match readable(&String::from_utf8_lossy(output)) {
        text if text.is_empty() => status.to_string(),
        text => format!("{status}: {text}"),
    };
    match status.code() {
        Some(code) if code != EX_TEMPFAIL => Verdict::Refused { cause },
        _ => Verdict::retry(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::page::Status;
    use crate::alert::page::tests::page;

    async fn run(script: &str, limit: Duration) -> Verdict {
        let command = Command {
            receiver: "local".to_owned(),
            external_url: String::new(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            timeout: limit,
        };
        command.run(&[page("Stall", "web", Status::Firing)]).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_payload_is_on_standard_input_and_the_environment_is_bare() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seen");
        let script = format!("cat > {0}; env >> {0}", file.display());
        assert_eq!(run(&script, LONG).await, Verdict::Delivered);
        let seen = std::fs::read_to_string(file).unwrap();
        let (json, environment) = seen.split_at(seen.rfind('}').unwrap() + 1);
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["alerts"][0]["labels"]["alertname"], "Stall");
        assert!(!environment.contains("CARGO"), "{environment}");
    }

    #[tokio::test]
    async fn exit_codes_say_whether_to_try_again() {
        assert!(matches!(run("exit 75", LONG).await, Verdict::Retry { .. }));
        assert!(matches!(
            run("kill -9 $$", LONG).await,
            Verdict::Retry { .. }
        ));
        let refused = run("echo no such unit >&2; exit 3", LONG).await;
        assert_eq!(
            refused,
            Verdict::Refused {
                cause: "exit status: 3: no such unit".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let verdict = run(&script, Duration::from_secs(1)).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_alive = || {
            let text = std::fs::read_to_string(&stat).unwrap_or_default();
            !text.is_empty() && !text.contains(") Z ")
        };
        for _ in 0..1_000 {
            if !is_alive() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child's child lives on");
    }

    #[tokio::test]
    async fn endless_output_and_unread_input_are_no_problem() {
        let script = "exec <&-; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1";
        let verdict = run(script, LONG).await;
        assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_tried_again() {
        let command = Command {
            receiver: "local".to_owned(),
            external_url: String::new(),
            program: "/nowhere/program".into(),
            arguments: Vec::new(),
            timeout: LONG,
        };
        let verdict = command.run(&[page("A", "web", Status::Firing)]).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    }
}
