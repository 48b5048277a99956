//! Rule files and rules that cannot be used, and rules that ask for too much.

use std::process::Command;

use rustix::process::Signal;

use crate::running::{Agent, fail};
use crate::site::{Site, ask, evaluations, firing, metric};
use crate::traffic::{Names, Serve, Server};

fn reloads(agent: &Agent, outcome: &str) -> f64 {
    metric(agent, "weir_rule_reloads_total", &[("outcome", outcome)])
}

fn rules(agent: &Agent) -> f64 {
    metric(agent, "weir_rules", &[("kind", "alerting")])
}

fn always(name: &str) -> String {
    format!(
        "groups:\n- name: {name}\n  rules:\n  - {{alert: {name}, expr: weir_build_info == 1}}\n"
    )
}

#[test]
fn one_bad_file_among_ten_leaves_the_old_rules_at_work() {
    let site = Site::new();
    let hook = site.open();
    for file in 0..10 {
        site.write(&format!("{file}.yaml"), &always(&format!("A{file}")));
    }
    let mut agent = Agent::start(&site.config(""));
    hook.until("all ten page", |hook| hook.taken().len() == 10);

    let bad = "groups:\n- name: A7\n  rules:\n  - {alert: A7, expr: weir_build_info == 1}\n  - alert: B\n    expr: sum(\n";
    site.write("7.yaml", bad);
    site.write("8.yaml", &always("Other"));
    agent.until("it is refused", |agent| reloads(agent, "refused") >= 1.0);
    agent.until("it is said", |agent| {
        agent.log().contains("stay as they were")
    });
    let log = agent.log();
    assert!(log.contains("7.yaml: 6:11: "), "{log}");
    assert_eq!(metric(&agent, "weir_rule_current", &[]), 0.0);
    let before = evaluations(&agent);
    agent.signal(Signal::HUP);
    agent.until("a signal changes nothing", |agent| {
        reloads(agent, "refused") >= 2.0
    });
    agent.until("it goes on", |agent| evaluations(agent) > before + 30.0);
    assert_eq!((rules(&agent), firing(&agent)), (10.0, 10.0));
    assert_eq!(hook.taken().len(), 10, "nothing was resolved");

    site.write("7.yaml", &always("A7"));
    agent.until("all are read", |agent| reloads(agent, "applied") >= 1.0);
    assert_eq!(metric(&agent, "weir_rule_current", &[]), 1.0);
    hook.until("the new one pages", |hook| hook.taken().len() >= 12);
    let mut news = hook.taken().split_off(10);
    news.sort();
    assert_eq!(news, ["A8:resolved", "Other:firing"]);
}

#[test]
fn a_rule_that_needs_thirty_days_is_refused_with_its_name() {
    let site = Site::new();
    let long = "groups:\n- name: slow\n  rules:\n  - record: x\n    expr: weir_services\n  - alert: Month\n    expr: increase(weir_records_lost_total[30d]) > 0\n";
    site.write("long.yaml", long);
    let output = fail(&site.config(""), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said.lines().last().unwrap();
    for part in ["long.yaml", "slow", "Month", "30d", "the window is 1h"] {
        assert!(line.contains(part), "{part}: {said}");
    }
    site.write("long.yaml", &site.held());
    let mut agent = Agent::start(&site.config(""));
    site.write("long.yaml", long);
    agent.until("it is refused", |agent| reloads(agent, "refused") == 1.0);
    agent.until("it is said", |agent| agent.log().contains("needs 30d"));
    assert_eq!(rules(&agent), 1.0);
}

#[test]
fn a_value_in_a_label_is_judged_as_prometheus_does_and_makes_an_alert_of_each_value() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Keep));
    let labels = "labels: {open: \"{{ $value }}\"}";
    site.write(
        "valued.yaml",
        &site.held().replace("labels: {severity: page}", labels),
    );
    let file = site.at("rules/valued.yaml");
    let check = |program: &str, words: [&str; 2]| {
        let mut command = Command::new(program);
        command.args(words).arg(&file);
        command.output().map(|output| output.status.code())
    };
    let own = check(env!("CARGO_BIN_EXE_weir"), ["rules", "check"]).unwrap();
    match check("promtool", ["check", "rules"]) {
        Ok(theirs) => assert_eq!(own, theirs),
        Err(why) => eprintln!("SKIP promtool: {why} (Debian: prometheus)"),
    }
    assert_eq!(own, Some(0));

    let hook = site.open();
    let _agent = Agent::start(&site.config(""));
    let told = |open: &str, status: &str| {
        let seen = hook.seen();
        let mut alerts = seen.iter().flat_map(|seen| seen.alerts());
        alerts.any(|alert| alert["labels"]["open"] == *open && alert["status"] == *status)
    };
    let _three = names.start(&site.service, &server, "hold 3");
    hook.until("three page", |_| told("3", "firing"));
    let _two = names.start(&site.service, &server, "hold 2");
    hook.until("five page", |_| told("5", "firing"));
    hook.until("three are over", |_| told("3", "resolved"));
}

#[test]
fn a_rule_that_selects_more_than_there_is_room_for_is_said_and_counted() {
    let (site, names, server) = (Site::new(), Names::new(), Server::start(Serve::Close));
    let greedy = "groups:\n- name: greedy\n  rules:\n  - {record: all, expr: 'count({__name__=~\"weir_.+\"})'}\n";
    site.write("greedy.yaml", greedy);
    site.write("sane.yaml", &always("Sane"));
    let mut agent = Agent::start(&site.deaf("store_bytes = 1048576"));
    for service in 0..40 {
        names.run(&format!("many-{service}"), &server, "send 1 0 0");
    }
    agent.until("samples are refused", |agent| {
        metric(agent, "weir_rule_refused_total", &[("reason", "full")]) > 0.0
    });
    agent.until("it is said", |agent| {
        agent.log().contains("alert.store_bytes")
    });
    let held = metric(&agent, "weir_rule_store_size_bytes", &[]);
    // The last one that found room may stand out.
    assert!(held > 0.0 && held < 1_100_000.0, "{held}");
    let before = evaluations(&agent);
    agent.until("it goes on", |agent| evaluations(agent) > before + 10.0);
}

#[test]
fn over_a_groups_limit_the_first_stay_and_one_alert_says_the_rest() {
    let site = Site::new();
    let hook = site.open();
    let many = "groups:\n- name: many\n  limit: 3\n  rules:\n  - alert: Probe\n    expr: max without (rung) (weir_probe_attached) >= 0\n    labels: {severity: page}\n";
    site.write("many.yaml", many);
    let mut agent = Agent::start(&site.config(""));
    hook.until("four page", |hook| hook.taken().len() >= 4);
    let before = evaluations(&agent);
    agent.until("it goes on", |agent| evaluations(agent) > before + 5.0);
    assert_eq!(hook.taken(), ["Probe:firing"; 4]);
    let seen = hook.seen();
    let alerts = seen.iter().flat_map(|seen| seen.alerts());
    let rest: Vec<_> = alerts
        .filter(|alert| alert["labels"]["weir_over_limit"] == "true")
        .collect();
    assert_eq!(rest.len(), 1);
    let summary = rest[0]["annotations"]["summary"].as_str().unwrap();
    assert!(summary.contains("limit of 3"), "{summary}");
    assert_eq!(metric(&agent, "weir_rule_failing", &[]), 1.0);
    let rule = &ask(&agent, "rules")["groups"][0]["rules"][0];
    let why = rule["lastError"].as_str().unwrap();
    assert!(why.starts_with("exceeded limit of 3 with"), "{why}");
    assert_eq!(rule["health"], "err");
}
