//! However the agent ends, nothing of it stays in the kernel.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::object::{Objects, pinned};
use crate::receiver::Receiver;
use crate::running::Agent;
use crate::traffic::{Names, Serve, Server};

#[test]
fn a_signal_to_end_exports_once_more_and_leaves_nothing() {
    let pinned_before = pinned();
    for signal in [Signal::TERM, Signal::INT] {
        let receiver = Receiver::start(vec![]);
        // The first export comes within the first interval, somewhere.
        let config = format!(
            "[otlp]\nendpoint = 'http://{}'\nprotocol = 'http'\ngzip = false\ninterval_seconds = 86400",
            receiver.address
        );
        let mut agent = Agent::start(&config);
        let objects = Objects::of(&agent);
        assert_eq!(receiver.requests(), 0);
        let status = agent.end(signal);
        assert_eq!(status.code(), Some(0), "{}", agent.log());
        assert!(receiver.requests() > 0, "no last export on {signal:?}");
        assert!(agent.log().contains("stopping"), "{}", agent.log());
        objects.must_go();
    }
    assert_eq!(pinned(), pinned_before);
}

#[test]
fn killed_and_started_again_it_works_as_before() {
    let names = Names::new();
    let server = Server::start(Serve::Close);
    let pinned_before = pinned();
    for _ in 0..3 {
        let mut agent = Agent::start("");
        let objects = Objects::of(&agent);
        names.run("fault-again", &server, "rename 20 fault-again");
        agent.until("every connection is counted", |agent| {
            let series = agent.scrape();
            let opened = [("outcome", "opened"), ("role", "connected")];
            let services = series.of("weir_tcp_connections_total", &opened);
            // By its program while it runs, by its command afterwards.
            let is_ours = |service: &str| service.starts_with("fault-again");
            let ours = services.filter(|(labels, _)| is_ours(&labels["service"]));
            ours.map(|(_, opened)| opened).sum::<f64>() == 20.0
        });
        let status = agent.end(Signal::KILL);
        assert_eq!(status.signal(), Some(9));
        objects.must_go();
    }
    assert_eq!(pinned(), pinned_before);
}
