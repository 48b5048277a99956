//! A rule's life: dropped into the folder, fires, pages, is resolved; kills and reloads in between.

use rustix::process::Signal;

use crate::receiver::Receiver;
use crate::running::Agent;
use crate::site::{Site, evaluations, firing, metric};
use crate::traffic::{Names, Serve, Server};

fn settled(agent: &mut Agent) {
    agent.until("the receiver's place is on disk", |agent| {
        metric(agent, "weir_alert_waiting", &[]) == 0.0
    });
}

#[test]
fn a_file_dropped_into_the_folder_fires_pages_and_is_resolved() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    let hook = site.open();
    let mut agent = Agent::start(&site.config(""));
    assert_eq!(metric(&agent, "weir_rules", &[]), 0.0);
    site.write("held.yaml", &site.held());
    agent.until("the file is seen", |agent| {
        metric(agent, "weir_rules", &[("kind", "alerting")]) == 1.0
    });
    let client = names.start(&site.service, &server, "hold 3");
    hook.until("it pages", |hook| !hook.taken().is_empty());
    client.join();
    hook.until("it is resolved", |hook| hook.taken().len() > 1);
    assert_eq!(hook.taken(), ["Held:firing", "Held:resolved"]);

    let seen = hook.seen();
    let (fired, resolved) = (&seen[0].alerts()[0], &seen[1].alerts()[0]);
    let service = site.service.as_str();
    for (label, value) in [("service", service), ("severity", "page"), ("node", "n1")] {
        assert_eq!(fired["labels"][label], value, "{fired}");
    }
    let summary = format!("{service} holds 3 on n1");
    assert_eq!(fired["annotations"]["summary"], summary);
    let link = fired["generatorURL"].as_str().unwrap();
    assert!(link.starts_with("http://node/graph?g0.expr="), "{link}");
    for same in ["fingerprint", "startsAt", "labels"] {
        assert_eq!(fired[same], resolved[same]);
    }
    // Go's zero time: nobody knows yet when it ends.
    assert_eq!(fired["endsAt"], "0001-01-01T00:00:00Z");
    assert!(resolved["endsAt"].as_str() > resolved["startsAt"].as_str());
    assert_eq!(firing(&agent), 0.0);
}

#[test]
fn kills_while_it_fires_unheard_lose_no_page_and_repeat_none() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    site.write("held.yaml", &site.held());
    let client = names.start(&site.service, &server, "hold 3");
    for _ in 0..3 {
        let mut agent = Agent::start(&site.config(""));
        agent.until("it fires", |agent| firing(agent) == 1.0);
        agent.until("nobody hears it", |agent| {
            metric(agent, "weir_alert_requests_total", &[("outcome", "failed")]) > 0.0
        });
        assert_eq!(metric(&agent, "weir_alert_waiting", &[]), 1.0);
        agent.end(Signal::KILL);
    }
    // It ends while no agent is there.
    client.join();
    let mut agent = Agent::start(&site.config(""));
    agent.until("it is resolved", |agent| firing(agent) == 0.0);
    agent.until("both pages are kept", |agent| {
        metric(agent, "weir_alert_waiting", &[]) == 2.0
    });
    agent.end(Signal::KILL);
    drop(agent);

    let hook = site.open();
    let told = ["Held:firing", "Held:resolved"];
    for _ in 0..2 {
        let mut agent = Agent::start(&site.config(""));
        hook.until("all is told", |hook| hook.taken().len() >= 2);
        settled(&mut agent);
        let before = evaluations(&agent);
        agent.until("it goes on", |agent| evaluations(agent) > before + 5.0);
        assert_eq!(hook.taken(), told);
        agent.end(Signal::KILL);
    }
    let seen = hook.seen();
    let since: Vec<_> = seen.iter().flat_map(|seen| seen.alerts()).collect();
    assert_eq!(since[0]["startsAt"], since[1]["startsAt"]);
    let summary = format!("{} holds 3 on n1", site.service);
    assert_eq!(
        since[1]["annotations"]["summary"], summary,
        "as when it fired"
    );
}

#[test]
fn an_alert_that_was_paged_is_not_paged_again_after_a_kill() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    site.write("held.yaml", &site.held());
    let hook = site.open();
    let client = names.start(&site.service, &server, "hold 3");
    for _ in 0..3 {
        let mut agent = Agent::start(&site.config(""));
        hook.until("it pages", |hook| !hook.taken().is_empty());
        settled(&mut agent);
        let before = evaluations(&agent);
        agent.until("it goes on", |agent| evaluations(agent) > before + 5.0);
        assert_eq!(firing(&agent), 1.0);
        assert_eq!(hook.taken(), ["Held:firing"]);
        agent.end(Signal::KILL);
    }
    let _agent = Agent::start(&site.config(""));
    client.join();
    hook.until("it is resolved", |hook| hook.taken().len() > 1);
    assert_eq!(hook.taken(), ["Held:firing", "Held:resolved"]);
}

/// Values of a label of what was told, in order.
fn labels(hook: &Receiver, name: &str) -> Vec<String> {
    let seen = hook.seen();
    let alerts = seen.iter().flat_map(|seen| seen.alerts());
    let of = |alert: &serde_json::Value| {
        let value = alert["labels"][name].as_str().unwrap_or("-");
        format!("{value}:{}", alert["status"].as_str().unwrap())
    };
    alerts.map(of).collect()
}

#[test]
fn a_hang_up_reads_rules_and_their_configuration_again() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    let hook = site.open();
    site.write("held.yaml", &site.held());
    let mut agent = Agent::start(&site.config(""));
    let client = names.start(&site.service, &server, "hold 3");
    hook.until("it pages", |hook| !hook.taken().is_empty());
    // The same alert with another text is no news; a rule that is gone resolves what it said.
    let applied =
        |agent: &Agent| metric(agent, "weir_rule_reloads_total", &[("outcome", "applied")]);
    site.write("held.yaml", &site.held().replace("holds", "keeps"));
    agent.signal(Signal::HUP);
    agent.until("it is read", |agent| applied(agent) >= 1.0);
    let before = evaluations(&agent);
    agent.until("it goes on", |agent| evaluations(agent) > before + 5.0);
    assert_eq!(hook.taken(), ["Held:firing"]);
    site.write(
        "held.yaml",
        &site.held().replace("alert: Held", "alert: Kept"),
    );
    agent.signal(Signal::HUP);
    hook.until("the new one pages", |hook| hook.taken().len() > 2);
    let mut told = hook.taken();
    told.sort();
    assert_eq!(told, ["Held:firing", "Held:resolved", "Kept:firing"]);
    client.join();
    hook.until("it is resolved", |hook| {
        hook.taken().contains(&"Kept:resolved".to_owned())
    });
    // Another external label makes another page.
    let other = site.config("").replace("'n1'", "'n2'");
    agent.reload(&other);
    let _client = names.start(&site.service, &server, "hold 3");
    hook.until("it pages again", |hook| {
        labels(hook, "node").contains(&"n2:firing".to_owned())
    });
}
