//! Time in the run queue against the scheduler's own account.

use std::fs;

use weir::metrics;

use crate::agent::Agent;
use crate::fact::{assert_near, fact, in_tries, may_run};
use crate::network::Network;
use crate::retransmit::connected;

/// Nanoseconds runnable but not running, and turns on a CPU, of all threads of a process.
fn account(pid: u32) -> (u64, u64) {
    let mut sum = (0, 0);
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        let mut fields = text.split_whitespace().skip(1);
        let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
        sum.0 += next();
        sum.1 += next();
    }
    sum
}

#[test]
fn run_queue_delay_is_that_of_the_scheduler() {
    in_tries(compare_sched);
}

fn compare_sched() {
    if !may_run("sched") {
        return;
    }
    let agent = Agent::new();
    fact("sched", agent.rung("sched_delay"), |figures| {
        let net = Network::new();
        let (mut client, mut server) = connected(&net);
        server.ask("echo 0 100");
        client.number("call 0 100");
        let look = || {
            let numbers = agent.look();
            let histogram = numbers.histogram(&metrics::SCHED_DELAY, &client.service);
            (histogram.sum, histogram.count())
        };
        let (before, seen_before) = (account(client.pid()), look());
        let pid = client.pid();
        client.ask("spin 3 3000");
        let (after, numbers) = (account(pid), agent.look());
        let histogram = numbers.histogram(&metrics::SCHED_DELAY, &client.service);
        let seen = (
            histogram.sum - seen_before.0,
            histogram.count() - seen_before.1,
        );
        let truth = ((after.0 - before.0) as f64 / 1e9, after.1 - before.1);
        figures.push(format!(
            "seconds: weir={:.4} schedstat={:.4}",
            seen.0, truth.0
        ));
        figures.push(format!("turns: weir={} schedstat={}", seen.1, truth.1));
        assert!(truth.0 > 2.0, "nobody waited: {figures:?}");
        assert_near("run-queue delay", seen.0, truth.0, 0.03);
        assert_near("turns", seen.1 as f64, truth.1 as f64, 0.05);
    });
}
