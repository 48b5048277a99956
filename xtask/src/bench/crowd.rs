//! Many connections over loopback with a steady rate of sends over all of them.
//!
//! One process for each processor, since one may not open as many files as are needed everywhere.
//! They are this program, called with [`Worker`]; a byte to their stdin switches sending on or off
//! and is answered by the number of sends so far, and its end ends them, also if we are killed.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

mod worker;

pub(crate) use worker::{Worker, run};

/// The connections and who sends on them.
pub(crate) struct Crowd {
    workers: Vec<(Child, BufReader<ChildStdout>)>,
}

impl Crowd {
    /// Opens `connections`, spread over the processors, and returns when all are there. Nothing is
    /// sent yet.
    pub(crate) fn open(connections: usize, per_second: u64, processors: &[usize]) -> Result<Self> {
        let count = processors.len().max(1);
        let mut crowd = Self {
            workers: Vec::new(),
        };
        let program = env::current_exe().context("looking for this program")?;
        for processor in processors {
            let numbers = [
                connections / count,
                usize::try_from(per_second)? / count,
                *processor,
            ];
            let mut child = Command::new(&program)
                .args(["bench", "crowd"])
                .args(numbers.map(|number| number.to_string()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("starting a worker")?;
            let answers = child.stdout.take().context("a worker without stdout")?;
            crowd.workers.push((child, BufReader::new(answers)));
        }
        for (_, answers) in &mut crowd.workers {
            number(answers)?;
        }
        Ok(crowd)
    }

    /// Begins or ceases to send; gives the number of sends so far.
    pub(crate) fn send(&mut self, on: bool) -> Result<u64> {
        let mut sends = 0;
        for (child, answers) in &mut self.workers {
            let stdin = child.stdin.as_mut().context("a worker without stdin")?;
            stdin
                .write_all(if on { b"+" } else { b"-" })
                .context("a worker is gone")?;
            sends += number(answers)?;
        }
        Ok(sends)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (child, _) in &mut self.workers {
            drop(child.stdin.take());
        }
        for (child, _) in &mut self.workers {
            let _ = child.wait();
        }
    }
}

fn number(answers: &mut BufReader<ChildStdout>) -> Result<u64> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        bail!("a worker ended early");
    }
    line.trim().parse().context("a worker's answer")
}
