//! SIGHUP: what can change while the agent runs does, the rest is said.

use rustix::process::Signal;

use crate::running::Agent;

fn reloads(agent: &Agent, outcome: &str) -> f64 {
    agent
        .scrape()
        .one("weir_config_reloads_total", &[("outcome", outcome)])
}

#[test]
fn level_labels_and_limits_change_and_the_rest_needs_a_restart() {
    let mut agent = Agent::start("");
    let port = format!("[prometheus]\nlisten = '{}'", agent.address);
    agent.reload(&format!(
        "[log]\nlevel = 'debug'\n[labels]\npod = true\n[kernel]\nring_bytes = 65536\n{port}"
    ));
    agent.until("it is applied", |agent| reloads(agent, "applied") == 1.0);
    let log = agent.log();
    assert!(
        log.contains("kernel.ring_bytes has changed and takes effect at the next start"),
        "{log}"
    );
    assert!(!log.contains("labels.pod has changed"), "{log}");
    assert!(log.contains("configuration reloaded"), "{log}");

    agent.reload(&format!("[log]\nlevel = 'error'\n{port}"));
    agent.until("it is applied", |agent| reloads(agent, "applied") == 2.0);
    assert_eq!(
        agent.log().matches("configuration reloaded").count(),
        1,
        "said at level info"
    );
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_counted() {
    let mut agent = Agent::start("");
    agent.reload("[log]\nlevel = 'loud'");
    agent.until("it is refused", |agent| reloads(agent, "refused") == 1.0);
    std::fs::remove_file(agent.config_file()).unwrap();
    agent.signal(Signal::HUP);
    agent.until("it is refused", |agent| reloads(agent, "refused") == 2.0);
    assert_eq!(reloads(&agent, "applied"), 0.0);
    let log = agent.log();
    assert!(
        log.contains("weir.toml:2:9") && log.contains("not reloaded"),
        "{log}"
    );
    agent.reload("");
    agent.until("it is applied", |agent| reloads(agent, "applied") == 1.0);
}
