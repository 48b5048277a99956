//! Time of sends against bpftrace, which looks at the same system calls.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use weir::metrics;

use crate::agent::{Agent, bound, bucket, quantile};
use crate::fact::{fact, in_tries, may_run, skip};
use crate::network::Network;
use crate::retransmit::connected;

/// A running bpftrace that prints the nanoseconds of each send of a process.
struct Tracer {
    child: Child,
    lines: Receiver<String>,
}

impl Tracer {
    /// Starts it; says why it cannot.
    fn start(pid: u32) -> Result<Self, String> {
        let program = format!(
            "BEGIN {{ printf(\"ready\\n\"); }}
             tracepoint:syscalls:sys_enter_sendto /pid == {pid}/ {{ @from[tid] = nsecs; }}
             tracepoint:syscalls:sys_exit_sendto /@from[tid]/ {{
                 if (args->ret > 0) {{ printf(\"%d\\n\", nsecs - @from[tid]); }}
                 delete(@from[tid]);
             }}"
        );
        let mut child = Command::new("bpftrace")
            .args(["-B", "line", "-e", &program])
            .env("BPFTRACE_PERF_RB_PAGES", "1024")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| format!("bpftrace: {why}"))?;
        let lines = read(child.stdout.take().unwrap());
        let tracer = Self { child, lines };
        while let Ok(line) = tracer.lines.recv_timeout(Duration::from_secs(20)) {
            if line.contains("ready") {
                return Ok(tracer);
            }
        }
        Err("bpftrace cannot attach".to_owned())
    }

    /// Ends it and gives the times it saw, sorted, in seconds.
    fn stop(mut self) -> Vec<f64> {
        std::thread::sleep(Duration::from_millis(500));
        self.interrupt();
        let _ = self.child.wait();
        let numbers = self
            .lines
            .iter()
            .filter_map(|line| line.trim().parse::<f64>().ok());
        let mut took: Vec<f64> = numbers.map(|ns| ns / 1e9).collect();
        took.sort_by(f64::total_cmp);
        took
    }

    fn interrupt(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads in the background, so that a wait can end.
fn read(from: ChildStdout) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn bpftrace_measures_the_same_sends() {
    in_tries(compare_with_bpftrace);
}

fn compare_with_bpftrace() {
    if !may_run("bpftrace") {
        return;
    }
    let agent = Agent::new();
    let rung = agent.rung("tcp_send");
    let net = Network::new();
    let (mut client, mut server) = connected(&net);
    let tracer = match Tracer::start(client.pid()) {
        Ok(tracer) => tracer,
        Err(why) => return skip("send-bpftrace", rung, &why),
    };
    fact("send-bpftrace", rung, |figures| {
        server.ask("pin 0");
        client.ask("pin 1");
        client.ask("hurry");
        server.ask("sip 0 65536 1000");
        client.ask("option 0 sndbuf 100000");
        client.ask("timed 0 300 400000 0");
        let truth = tracer.stop();
        let histogram = agent
            .look()
            .histogram(&metrics::TCP_SEND_DURATION, &client.service);
        figures.push(format!(
            "sends: weir={} bpftrace={}",
            histogram.count(),
            truth.len()
        ));
        assert_eq!(histogram.count(), truth.len() as u64);
        for q in [0.5, 0.99] {
            let truth = truth[(truth.len() as f64 * q).ceil() as usize - 1];
            let seen = quantile(&histogram, q);
            let off = seen - bucket(truth);
            let (p, seen) = (q * 100.0, bound(seen) * 1e6);
            figures.push(format!(
                "p{p:.0}: weir<={seen:.1}us bpftrace={:.1}us off={off}",
                truth * 1e6
            ));
            assert!(off.abs() <= 1, "{figures:?}");
        }
    });
}
