//! A reader that does not read: records are lost and counted, services keep their names.

use rustix::process::Signal;

use crate::running::Agent;
use crate::traffic::{Names, Serve, Server};

const OWNERS: u64 = 4000;

/// Records of new owners, handed over and refused.
fn records(agent: &Agent) -> (f64, f64) {
    let series = agent.scrape();
    let kind = [("kind", "owner")];
    (
        series.one("weir_records_sent_total", &kind),
        series.one("weir_records_lost_total", &kind),
    )
}

fn check(transport: &str) {
    let names = Names::new();
    let server = Server::start(Serve::Close);
    let mut agent = Agent::start(&format!(
        "[kernel]\ntransport = '{transport}'\nring_bytes = 65536\nmax_services = 6000\n\
         [limits]\nmax_services = 10000\nmax_series = 1000000"
    ));
    let (sent, lost) = records(&agent);
    agent.signal(Signal::STOP);
    // Gone when the agent goes on, so that the name can only come from the kernel's table.
    names.run(
        "ring-flood",
        &server,
        &format!("rename {OWNERS} {transport}-"),
    );
    agent.signal(Signal::CONT);
    let prefix = format!("{transport}-");
    let mut named = 0;
    agent.until("every owner has its name", |agent| {
        let series = agent.scrape();
        let labels = [("outcome", "opened"), ("role", "connected")];
        let found = series.of("weir_tcp_connections_total", &labels);
        let is_ours = |service: &&str| service.starts_with(&prefix);
        let services = found.filter(|(_, opened)| *opened == 1.0);
        let services = services.map(|(labels, _)| labels["service"].as_str());
        named = services.filter(is_ours).count() as u64;
        named == OWNERS
    });
    let (sent, lost) = {
        let now = records(&agent);
        (now.0 - sent, now.1 - lost)
    };
    eprintln!("{transport}: {sent} records sent, {lost} lost");
    assert!(lost > 0.0 && sent > 0.0, "{sent} sent, {lost} lost");
    assert!(sent + lost >= OWNERS as f64, "{sent} sent, {lost} lost");
    // It reads again.
    names.run("ring-after", &server, "rename 1 after");
    agent.until("new records come through", |agent| {
        let now = records(agent);
        now.0 - sent > 0.0 && agent.scrape().one("weir_records_malformed_total", &[]) == 0.0
    });
}

#[test]
fn a_full_ring_loses_records_but_no_names() {
    check("ring");
}

#[test]
fn a_full_perf_buffer_loses_records_but_no_names() {
    check("perf");
}
