//! A stream breaks while the node is cut from the network: one page with the cause on the node, and
//! both pages where they belong when the network is back.

use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::network::{B, Network, run};
use crate::receiver::{Receiver, until};
use crate::running::Agent;
use crate::site::{Site, firing, metric};
use crate::traffic::{Names, Serve, Server};

const RULES: &str = r#"
groups:
- name: streams
  rules:
  - alert: StreamBroken
    expr: sum without (kind) (increase(weir_tcp_retransmits_total{service="streamer"}[10s])) > 5
    # Loss comes in waves.
    keep_firing_for: 10s
    labels: {severity: page}
    annotations: {summary: "{{ $labels.service }} is losing what it sends"}
"#;

/// Moves this thread, and what it starts, into a namespace.
fn enter(space: &str) {
    let space = std::fs::File::open(format!("/run/netns/{space}")).unwrap();
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs in a thread that may leave the namespace of the test.
fn inside<T: Send>(space: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter(space);
            work()
        });
        inside.join().unwrap()
    })
}

/// Loses half of what comes to a port, on the node itself.
fn break_stream(net: &Network, port: u16) {
    net.rule(
        &net.a,
        &format!("tcp dport {port} numgen random mod 100 < 50 drop"),
    );
}

#[test]
fn a_stream_that_breaks_while_the_node_is_cut_off_pages_once_with_the_cause_and_is_resolved() {
    let net = Network::new();
    // The desk is beyond the network, in the other namespace. It stays open to the end of the
    // tests: while the node is cut off, nobody could tell it to close.
    let listener = inside(&net.b, || TcpListener::bind((B, 0)).unwrap());
    let hook: &Receiver = Box::leak(Box::new(inside(&net.b, || Receiver::on(listener, None))));
    inside(&net.a, || on_the_node(&net, hook));
}

fn on_the_node(net: &Network, hook: &Receiver) {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Read));
    let local = site.at("local");
    site.write("streams.yaml", RULES);
    let receivers = format!(
        "[[alert.webhook]]\nname = 'desk'\nurl = 'http://{}/'\nconnect_timeout_seconds = 1.0\n\
         [[alert.command]]\nname = 'local'\ncommand = ['/bin/sh', '-c', 'cat >> {local}; echo >> {local}']\n",
        hook.address,
        local = local.display()
    );
    let mut agent = Agent::start(&(site.deaf("") + &receivers));
    let _stream = names.start("streamer", &server, "send 1 1000000 200");
    agent.until("the stream runs", |agent| {
        metric(
            agent,
            "weir_tcp_acked_bytes_total",
            &[("service", "streamer")],
        ) > 1e5
    });

    run(&["ip", "-n", &net.b, "link", "set", "v", "down"]);
    break_stream(net, server.address.port());
    agent.until("it fires", |agent| firing(agent) == 1.0);
    let on_node = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&local).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        lines.map_while(Result::ok).collect()
    };
    let told = || format!("{:?}", on_node());
    until("the node is told", || on_node().len() == 1, told);
    agent.until("the desk is not reached", |agent| {
        let receiver = [("receiver", "webhook/desk")];
        metric(agent, "weir_alert_failing", &receiver) == 1.0
    });
    assert!(hook.taken().is_empty());

    net.clear(&net.a);
    agent.until("the stream is well again", |agent| firing(agent) == 0.0);
    until("the node is told", || on_node().len() == 2, told);
    run(&["ip", "-n", &net.b, "link", "set", "v", "up"]);
    hook.until("the desk is told", |hook| hook.taken().len() > 1);

    let both = ["StreamBroken:firing", "StreamBroken:resolved"];
    assert_eq!(hook.taken(), both);
    let status: Vec<_> = on_node()
        .iter()
        .map(|page| page["status"].clone())
        .collect();
    assert_eq!(status, ["firing", "resolved"]);
    let at_desk: Vec<_> = hook.seen().into_iter().map(|seen| seen.body).collect();
    for page in on_node().iter().chain(&at_desk) {
        let alert = &page["alerts"][0];
        assert_eq!(alert["labels"]["service"], "streamer", "{alert}");
        let causes = alert["annotations"]["weir_causes"].as_str().unwrap();
        assert!(causes.contains("sent again"), "{causes}");
        eprintln!("{}: {causes}", alert["status"]);
    }
}
