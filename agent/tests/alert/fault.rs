//! Receivers that are down, hang, refuse, or break off.

use std::net::TcpListener;

use crate::node::{Node, fired, resolved};
use crate::receiver::{Act, Receiver};

fn webhook(receiver: &Receiver) -> String {
    format!(
        "[[webhook]]\nname = 'ops'\nurl = 'http://{}/hook?x=1'\ntimeout_seconds = 0.5\n",
        receiver.address
    )
}

#[test]
fn a_webhook_gets_the_payload_at_once() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let node = Node::start(&webhook(&receiver), dir.path());
    let page = fired("Stall", 0);
    node.commit(vec![page.clone()]);
    receiver.until("it fires", |receiver| receiver.taken() == ["Stall:firing"]);
    node.commit(vec![resolved(&page, 0)]);
    let both = ["Stall:firing", "Stall:resolved"];
    receiver.until("it is resolved", |receiver| receiver.taken() == both);
    let seen = &receiver.seen()[0];
    assert!(
        seen.head.starts_with("post /hook?x=1 http/1.1"),
        "{}",
        seen.head
    );
    assert!(
        seen.head.contains("content-type: application/json"),
        "{}",
        seen.head
    );
    let (text, fingerprint) = (&seen.body, page.fingerprint().to_string());
    assert_eq!(text["version"], "4");
    assert_eq!(text["receiver"], "ops");
    assert_eq!(text["alerts"][0]["fingerprint"], fingerprint.as_str());
}

#[test]
fn what_passes_is_tried_again_and_nothing_is_lost() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let node = Node::start(&webhook(&receiver), dir.path());
    receiver.then([
        Act::Say(500, "", "oops"),
        Act::Hang,
        Act::Close,
        Act::Cut(200),
        Act::Say(429, "retry-after: 1\r\n", ""),
    ]);
    let page = fired("Stall", 0);
    node.commit(vec![page.clone()]);
    node.commit(vec![resolved(&page, 0)]);
    let both = ["Stall:firing", "Stall:resolved"];
    receiver.until("both arrive in order", |receiver| receiver.taken() == both);
    assert_eq!(node.failed(0), 5);
    assert_eq!(node.refused(0), 0);
}

#[test]
fn a_refused_page_is_given_up_and_its_neighbours_are_not() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let mut config = webhook(&receiver);
    config.push_str("batch = 8\n");
    let node = Node::start(&config, dir.path());
    // All four; the first half; the second half, whose first is at fault.
    receiver.then([
        Act::Say(400, "", "one is bad"),
        Act::Say(200, "", ""),
        Act::Say(400, "", "one is bad"),
        Act::Say(400, "", "this one"),
    ]);
    let pages = ["a", "b", "c", "d"].map(|service| {
        let mut page = fired("Stall", 0);
        page.labels.insert("service".to_owned(), service.to_owned());
        page
    });
    node.commit(pages.to_vec());
    receiver.until("three arrive", |receiver| receiver.taken().len() == 3);
    crate::receiver::until("it settles", || node.waiting() == 0, String::new);
    assert_eq!(node.refused(0), 1);
    let last = receiver.seen();
    let alone = last.last().unwrap().alerts();
    assert_eq!(
        (alone.len(), &alone[0]["labels"]["service"]),
        (1, &"d".into())
    );
}

#[test]
fn one_that_hangs_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    slow.then(std::iter::repeat_n(Act::Hang, 100));
    let config = format!(
        "[[webhook]]\nname = 'slow'\nurl = 'http://{}/'\n[[webhook]]\nname = 'quick'\nurl = 'http://{}/'\n",
        slow.address, quick.address
    );
    let node = Node::start(&config, dir.path());
    for number in 0..5 {
        node.commit(vec![fired(&format!("A{number}"), 0)]);
    }
    quick.until("all arrive", |quick| quick.taken().len() == 5);
    assert!(node.waiting() > 0);
}

#[test]
fn what_fired_and_was_resolved_while_the_port_was_closed_arrives_in_order() {
    let dir = tempfile::tempdir().unwrap();
    // A port that is closed for now.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = format!(
        "[[alertmanager]]\nurls = ['http://{address}/am']\nbatch = 4\n[[webhook]]\nname = 'ops'\nurl = 'http://{address}/hook'\n"
    );
    let hour = 3_600_000;
    let mut expected = Vec::new();
    {
        let node = Node::start(&config, dir.path());
        for number in 0..20 {
            let page = fired(&format!("A{}", number % 7), hour - number * 60_000);
            let end = resolved(&page, hour - number * 60_000 - 30_000);
            expected.push(format!("{}:firing", page.name()));
            expected.push(format!("{}:resolved", page.name()));
            node.commit(vec![page]);
            node.commit(vec![end]);
        }
        crate::receiver::until(
            "both fail",
            || node.failed(0) + node.failed(1) > 1,
            String::new,
        );
    }
    // The sender was restarted in between, too.
    let node = Node::start(&config, dir.path());
    let receiver = Receiver::on(TcpListener::bind(address).unwrap(), None);
    crate::receiver::until(
        "all is sent",
        || node.waiting() == 0,
        || node.waiting().to_string(),
    );
    let (hooks, alerts): (Vec<_>, Vec<_>) = receiver
        .seen()
        .into_iter()
        .partition(|seen| seen.head.starts_with("post /hook"));
    let told: Vec<_> = hooks
        .iter()
        .flat_map(|seen| seen.alerts())
        .map(|alert| {
            let (name, status) = (&alert["labels"]["alertname"], &alert["status"]);
            format!("{}:{}", name.as_str().unwrap(), status.as_str().unwrap())
        })
        .collect();
    assert_eq!(told, expected);
    // Alertmanager tells by the end: what fired is sent as firing, however late it comes.
    let now = chrono::DateTime::from_timestamp_millis(crate::node::now_ms()).unwrap();
    let told: Vec<_> = alerts
        .iter()
        .flat_map(|seen| seen.alerts())
        .take(expected.len())
        .map(|alert| {
            let end = chrono::DateTime::parse_from_rfc3339(alert["endsAt"].as_str().unwrap());
            let status = if end.unwrap() > now {
                "firing"
            } else {
                "resolved"
            };
            format!(
                "{}:{status}",
                alert["labels"]["alertname"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(told, expected);
    let is_batched = |seen: &crate::receiver::Seen| seen.alerts().len() <= 4;
    assert!(alerts.iter().all(is_batched));
    assert!(
        alerts[0].head.starts_with("post /am/api/v2/alerts "),
        "{}",
        alerts[0].head
    );
}

#[test]
fn an_alertmanager_is_reminded_of_what_fires_and_webhooks_are_not() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let config = format!(
        "repeat_seconds = 1.0\n[[alertmanager]]\nurls = ['http://{0}']\n[[webhook]]\nname = 'ops'\nurl = 'http://{0}/hook'\n",
        receiver.address
    );
    let node = Node::start(&config, dir.path());
    let page = fired("Stall", 0);
    node.commit(vec![page.clone()]);
    receiver.until("three times", |receiver| {
        let seen = receiver.seen();
        seen.iter()
            .filter(|seen| seen.head.contains("/api/v2/"))
            .count()
            >= 3
    });
    let mut later = page.clone();
    later.ends_at_ms += 1_000_000;
    node.log.refresh([later]);
    receiver.until("with the new end", |receiver| {
        let seen = receiver.seen();
        let ends: Vec<_> = seen
            .iter()
            .filter(|seen| seen.head.contains("/api/v2/"))
            .map(|seen| seen.alerts()[0]["endsAt"].as_str().unwrap().to_owned())
            .collect();
        ends.last() > ends.first()
    });
    let seen = receiver.seen();
    let hooks = seen
        .iter()
        .filter(|seen| seen.head.starts_with("post /hook"));
    assert_eq!(hooks.count(), 1);
}
