//! A receiver that hangs keeps neither others nor decisions waiting.

use crate::network::Network;
use crate::peer::Peer;
use crate::receiver::{Act, Receiver};
use crate::running::Agent;
use crate::setup::{REFUSED, config, fired, group, receiver, refuse, settle, wait, write};

#[test]
fn pages_go_on_while_a_receiver_hangs_and_it_gets_them_after() {
    let (dir, good, bad) = (
        tempfile::tempdir().unwrap(),
        Receiver::start(),
        Receiver::start(),
    );
    bad.then([Act::Hang, Act::Hang]);
    let rules = write(dir.path(), &[group("Refused", &format!("{REFUSED} > 0"))]);
    let config = config(&rules, &["Refused"], good.address) + &receiver("bad", bad.address);
    let agent = Agent::start(&config);
    settle(&agent);
    let net = Network::new();
    let mut peers: Vec<_> = (0..5).map(|_| Peer::new("peer", &net.a)).collect();
    for peer in &mut peers {
        refuse(peer, 1);
        wait(&good, "Refused", &peer.service);
    }
    assert!(agent.scrape().sum("weir_rule_reactions_total", &[]) >= 1.0);
    bad.until("all pages after it hung", |bad| {
        let taken = bad.taken().len();
        taken >= peers.len()
            && peers
                .iter()
                .all(|peer| fired(bad, "Refused").contains(&peer.service))
    });
    let mut failed = [("outcome", "failed"), ("receiver", "webhook/bad")];
    let count = |labels: &[(&str, &str)]| agent.scrape().sum("weir_alert_requests_total", labels);
    assert!(count(&failed) >= 1.0);
    failed[1].1 = "webhook/w";
    assert_eq!(count(&failed), 0.0);
}
