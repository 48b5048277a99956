//! Floods against small bounds: what is over them is counted, and nothing is counted twice or lost.

use std::time::{Duration, Instant};

use crate::running::Agent;
use crate::series::Series;
use crate::traffic::{Names, Serve, Server};

const OPENED: [(&str, &str); 2] = [("outcome", "opened"), ("role", "connected")];

fn opened(agent: &Agent) -> u64 {
    agent.scrape().sum("weir_tcp_connections_total", &OPENED) as u64
}

fn refused(series: &Series, map: &str) -> f64 {
    series.one("weir_map_insert_failures_total", &[("map", map)])
}

fn memory(agent: &Agent) -> f64 {
    agent.scrape().one("weir_agent_memory_bytes", &[])
}

/// Makes connections until the agent counted as many as were made: other programs of the host may
/// open some at the same time, so it may count more, but never less, and once the same number.
#[track_caller]
fn counts_all(agent: &mut Agent, mut make: impl FnMut() -> u64) {
    const TRIES: usize = 12;
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let before = opened(agent);
        let made = make();
        // The scrape is a connection itself.
        let counted = opened(agent) - before - 1;
        assert!(counted >= made, "{made} made, {counted} counted");
        found.push((made, counted));
        if made == counted {
            return;
        }
    }
    panic!("made and counted: {found:?}");
}

#[test]
fn a_flood_of_services_is_folded_into_other_and_counted() {
    let names = Names::new();
    let server = Server::start(Serve::Close);
    let mut agent = Agent::start("[kernel]\nmax_services = 32\n[limits]\nmax_services = 8");
    let before = memory(&agent);
    let mut turn = 0;
    counts_all(&mut agent, || {
        turn += 1;
        for service in 0..60 {
            names.run(&format!("flood-{turn}-{service}"), &server, "send 1 0 0");
        }
        60
    });
    let series = agent.scrape();
    assert_eq!(series.one("weir_map_capacity", &[("map", "owners")]), 33.0);
    assert!(series.one("weir_map_entries", &[("map", "owners")]) <= 32.0);
    assert!(series.one("weir_services", &[]) <= 8.0);
    assert!(series.one("weir_services_folded_total", &[]) > 0.0);
    assert!(refused(&series, "owners") > 0.0);
    assert!(series.sum("weir_tcp_connections_total", &[("service", "other")]) > 0.0);

    // As many owners as a host will hardly ever have, of one process that keeps changing its name.
    const MANY: u64 = 100_000;
    let (from, began) = (opened(&agent), Instant::now());
    let refused_before = refused(&agent.scrape(), "owners");
    names.run("flood-all", &server, &format!("rename {MANY} n"));
    let series = agent.scrape();
    eprintln!("{MANY} owners in {:?}", began.elapsed());
    assert!(opened(&agent) - from >= MANY);
    assert!(refused(&series, "owners") - refused_before >= (MANY - 33) as f64);
    assert!(series.one("weir_map_entries", &[("map", "owners")]) <= 32.0);
    let grown = memory(&agent) - before;
    eprintln!("memory: {before} and {grown} more");
    assert!(grown < 16e6, "{grown} bytes more");
    counts_all(&mut agent, || {
        names.run("flood-more", &server, "rename 2000 m");
        2000
    });
}

#[test]
fn series_stay_within_their_limit() {
    let names = Names::new();
    let server = Server::start(Serve::Close);
    let mut agent = Agent::start("[limits]\nmax_series = 1000");
    counts_all(&mut agent, || {
        for service in 0..60 {
            names.run(&format!("series-{service}"), &server, "send 1 0 0");
        }
        60
    });
    let series = agent.scrape();
    let exported = series.one("weir_series", &[]);
    assert!((800.0..=1000.0).contains(&exported), "{exported}");
    assert!(series.one("weir_services_folded_total", &[]) > 0.0);
}

#[test]
fn connections_over_the_bound_are_counted_as_such() {
    let names = Names::new();
    let server = Server::start(Serve::Keep);
    let mut agent = Agent::start("[kernel]\nmax_connections = 1024");
    let client = names.start("flood-hold", &server, "hold 5000");
    agent.until("all are open", |_| server.accepted() >= 5000);
    let series = agent.scrape();
    assert!(series.one("weir_map_entries", &[("map", "sockets")]) <= 1024.0);
    // Both ends of each connection are on this host.
    assert!(refused(&series, "sockets") >= 2.0 * 5000.0 - 1024.0);
    client.join();
    agent.until("their places are free again", |agent| {
        agent
            .scrape()
            .one("weir_map_entries", &[("map", "sockets")])
            < 1024.0
    });
    // Seconds, not a fixed number: ends close one after the other.
    std::thread::sleep(Duration::from_secs(1));
    let short = Server::start(Serve::Close);
    counts_all(&mut agent, || {
        names.run("after-hold", &short, "rename 100 after");
        100
    });
}
