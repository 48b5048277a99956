//! A real Alertmanager that is down while alerts fire and are resolved.

use std::path::Path;

use crate::receiver::{Receiver, until};
use crate::running::Agent;
use crate::site::{Site, firing, metric};
use crate::traffic::{Names, Serve, Server};
use crate::upstream::{Alertmanager, PROGRAM, free_port};

const DELIVERED: [(&str, &str); 1] = [("outcome", "delivered")];

#[test]
fn what_fired_and_ended_while_alertmanager_was_down_is_told_in_order() {
    if !Path::new(PROGRAM).exists() {
        eprintln!("SKIP {PROGRAM} is missing (Debian: prometheus-alertmanager)");
        return;
    }
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    let (hook, port) = (Receiver::start(), free_port());
    site.write("held.yaml", &site.held());
    let lasting = format!("{}-lasting", site.service);
    let rule = site.held().replace(&site.service, &lasting);
    let rule = rule.replace("alert: Held", "alert: Lasting");
    site.write("lasting.yaml", &rule);
    let upstream =
        format!("[[alert.alertmanager]]\nname = 'am'\nurls = ['http://127.0.0.1:{port}']\n");
    let mut agent = Agent::start(&(site.deaf("repeat_seconds = 1.0") + &upstream));
    for _ in 0..2 {
        let client = names.start(&site.service, &server, "hold 3");
        agent.until("it fires", |agent| firing(agent) == 1.0);
        client.join();
        agent.until("it is resolved", |agent| firing(agent) == 0.0);
    }
    let _lasting = names.start(&lasting, &server, "hold 3");
    agent.until("another fires", |agent| firing(agent) == 1.0);
    agent.until("nobody hears it", |agent| {
        metric(agent, "weir_alert_failing", &[]) == 1.0
    });
    assert_eq!(metric(&agent, "weir_alert_transitions_total", &[]), 5.0);
    assert_eq!(metric(&agent, "weir_alert_pages_total", &DELIVERED), 0.0);

    let alertmanager = Alertmanager::start(&site.at(""), port, &hook).unwrap();
    agent.until("all is delivered", |agent| {
        metric(agent, "weir_alert_waiting", &[]) == 0.0
    });
    assert_eq!(metric(&agent, "weir_alert_pages_total", &DELIVERED), 5.0);
    assert_eq!(metric(&agent, "weir_alert_dropped_total", &[]), 0.0);
    until(
        "Alertmanager has it",
        || alertmanager.active("Lasting").is_some(),
        || format!("{:?}", alertmanager.received()),
    );
    assert!(alertmanager.active("Held").is_none());
    let received = alertmanager.received();
    let held = received.iter().filter(|told| told.starts_with("Held"));
    let mut held: Vec<_> = held.map(String::as_str).collect();
    // What is repeated to one that forgets is resolved already.
    held.truncate(4);
    let twice = ["Held:active", "Held:resolved"].repeat(2);
    assert_eq!(held, twice, "{received:?}");
    hook.until("Alertmanager pages", |hook| {
        hook.taken().contains(&"Lasting:firing".to_owned())
    });
}
