//! Real namespaces, real packets: needs root, iproute2, nftables, /dev/net/tun. Skips loudly
//! without.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod half_open;
#[path = "../service/ready.rs"]
mod ready;
mod stage;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stage::{Stage, inside, program, run};

const RELAY: &str = r#"
nodes = ["server", "players"]
[[link]]
name = "access"
from = "server"
to = "players"
addresses = ["10.91.1.1/24", "10.91.1.2/24"]
seed = 42
"#;

fn ping(stage: &Stage, count: u32) -> Option<(u32, f64)> {
    let ping = [
        "ping",
        "-n",
        "-q",
        "-i",
        "0.01",
        "-W",
        "1",
        "-c",
        &count.to_string(),
        "10.91.1.1",
    ];
    let output = stage.command("players", &ping).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let received = text
        .split(" received")
        .next()?
        .rsplit(' ')
        .next()?
        .parse()
        .ok()?;
    let least = text
        .split("mdev = ")
        .nth(1)
        .and_then(|rest| rest.split('/').next()?.parse().ok());
    Some((received, least.unwrap_or(f64::INFINITY)))
}

/// Sends numbered datagrams one by one and tells which came; unlike a stream, none is sent twice.
fn datagrams(stage: &Stage, count: u64) -> Vec<u64> {
    let receiver = inside(stage.namespace("players"), || {
        UdpSocket::bind("10.91.1.2:0").unwrap()
    });
    // What a busy machine leaves waiting must not be lost here: fates alone decide.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 8 << 20).unwrap();
    let to = receiver.local_addr().unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let sender = inside(stage.namespace("server"), || {
        UdpSocket::bind("10.91.1.1:0").unwrap()
    });
    let reader = std::thread::spawn(move || {
        let mut came = Vec::new();
        let mut bytes = [0; 8];
        while receiver.recv(&mut bytes).is_ok() {
            came.push(u64::from_be_bytes(bytes));
        }
        came
    });
    for number in 0..count {
        sender.send_to(&number.to_be_bytes(), to).unwrap();
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    reader.join().unwrap()
}

#[test]
fn a_relay_delays_by_what_was_asked_for_and_changes_while_it_runs() {
    let Some(stage) = Stage::raise(&format!(
        "{RELAY}forward.delay_ms = 15\nbackward.delay_ms = 10\n"
    )) else {
        return;
    };
    let (received, least) = ping(&stage, 10).unwrap();
    assert_eq!(received, 10);
    assert!(least >= 25.0, "{least}");
    stage.change("access", &json!({ "delay_ms": 30 })).unwrap();
    let (received, least) = ping(&stage, 5).unwrap();
    assert!(received == 5 && least >= 60.0, "{received} {least}");
    stage
        .change("access", &json!({ "outage": "drop" }))
        .unwrap();
    assert_eq!(ping(&stage, 3).unwrap().0, 0);
    let counts = stage.counts();
    assert_eq!(counts["access"]["backward"]["outage"], 3, "{counts}");
    assert_eq!(counts["access"]["forward"]["delivered"], 15, "{counts}");
    let refused = stage.change("access", &json!({ "loss": 2 })).unwrap_err();
    assert!(refused.contains("loss"), "{refused}");
}

#[test]
fn the_same_seed_loses_the_same_packets_as_foretold() {
    const PACKETS: u64 = 2000;
    let impairment = json!({ "loss": 0.05, "gilbert_elliott": { "worsen": 0.01, "recover": 0.2 } });
    let text = format!(
        "{RELAY}[link.forward]\nloss = 0.05\ngilbert_elliott = {{ worsen = 0.01, recover = 0.2 }}\n"
    );
    let fates = [
        "link",
        "fates",
        "--seed",
        "42",
        "--packets",
        &PACKETS.to_string(),
        &impairment.to_string(),
    ];
    let foretold: Vec<u64> = run(Command::new(program()).args(fates))
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|fate| fate["lost"] == false)
        .map(|fate| fate["number"].as_u64().unwrap())
        .collect();
    assert!((PACKETS as usize / 2..PACKETS as usize).contains(&foretold.len()));
    for _ in 0..2 {
        let Some(stage) = Stage::raise(&text) else {
            return;
        };
        assert_eq!(datagrams(&stage, PACKETS), foretold);
    }
}

#[test]
fn a_stream_arrives_unharmed_over_loss_jitter_and_reordering() {
    const BYTES: usize = 8 << 20;
    let bad = "delay_ms = 2\njitter_ms = 1\nloss = 0.002\nreorder = 0.01\nreorder_ms = 2\n";
    let Some(stage) = Stage::raise(&format!(
        "{RELAY}[link.forward]\n{bad}[link.backward]\n{bad}"
    )) else {
        return;
    };
    let listener = inside(stage.namespace("players"), || {
        TcpListener::bind("10.91.1.2:0").unwrap()
    });
    let to = listener.local_addr().unwrap();
    let byte = |index: usize| (index.wrapping_mul(2_654_435_761) >> 7) as u8;
    let sender = inside(stage.namespace("server"), || {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            stream
                .write_all(&(0..BYTES).map(byte).collect::<Vec<u8>>())
                .unwrap();
        })
    });
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    sender.join().unwrap();
    assert_eq!(came.len(), BYTES);
    assert!(
        came.iter()
            .enumerate()
            .all(|(index, &value)| value == byte(index))
    );
    let counts = stage.counts();
    assert!(
        counts["access"]["forward"]["lost"].as_u64() > Some(0),
        "{counts}"
    );
}

#[test]
fn a_rate_and_a_full_queue_drop_what_does_not_fit() {
    let text = format!("{RELAY}[link.forward]\nrate_bps = 100_000\nqueue_packets = 10\n");
    let Some(stage) = Stage::raise(&text) else {
        return;
    };
    let came = datagrams(&stage, 100);
    assert!(came.len() >= 10 && came.len() < 100, "{came:?}");
    let counts = stage.counts();
    let forward = &counts["access"]["forward"];
    assert_eq!(
        forward["queue_full"].as_u64().unwrap() + came.len() as u64,
        100,
        "{counts}"
    );
}

#[test]
fn a_veth_link_is_shaped_by_the_kernel() {
    for shaper in ["tbf", "htb"] {
        let veth = format!(
            "{RELAY}kind = \"veth\"\nshaper = \"{shaper}\"\nforward.rate_bps = 5_000_000\n"
        );
        let Some(stage) = Stage::raise(&veth) else {
            return;
        };
        assert_eq!(ping(&stage, 5).unwrap().0, 5);
        let shown = run(Command::new("tc").args([
            "-n",
            stage.namespace("server"),
            "qdisc",
            "show",
            "dev",
            "access",
        ]));
        assert!(shown.contains(shaper), "{shown}");
        stage
            .change("access", &json!({ "loss": 1, "rate_bps": 1_000_000 }))
            .unwrap();
        assert_eq!(ping(&stage, 3).unwrap().0, 0);
        stage
            .change("access", &json!({ "loss": 0, "rate_bps": 0 }))
            .unwrap();
        assert_eq!(ping(&stage, 5).unwrap().0, 5);
        let shown = run(Command::new("tc").args([
            "-n",
            stage.namespace("server"),
            "qdisc",
            "show",
            "dev",
            "access",
        ]));
        assert!(!shown.contains(shaper), "{shown}");
        let refused = stage
            .change("access", &json!({ "delay_ms": 5 }))
            .unwrap_err();
        assert!(refused.contains("relay"), "{refused}");
    }
}

#[test]
fn nodes_with_two_links_pass_packets_on_and_congestion_control_is_set() {
    let text = r#"
nodes = ["server", "router", "players"]
congestion = "reno"
[[link]]
name = "core"
from = "server"
to = "router"
addresses = ["10.91.1.1/24", "10.91.1.254/24"]
kind = "veth"
[[link]]
name = "access"
from = "router"
to = "players"
addresses = ["10.91.2.254/24", "10.91.2.2/24"]
[[route]]
node = "server"
to = "10.91.2.0/24"
via = "10.91.1.254"
[[route]]
node = "players"
to = "10.91.1.0/24"
via = "10.91.2.254"
"#;
    let Some(stage) = Stage::raise(text) else {
        return;
    };
    assert_eq!(ping(&stage, 5).unwrap().0, 5);
    let routes = run(Command::new("ip").args(["-n", stage.namespace("server"), "route"]));
    assert!(routes.contains("congctl reno"), "{routes}");
}

#[test]
fn what_a_killed_run_leaves_is_cleared_by_the_next() {
    let Some(mut stage) = Stage::raise(RELAY) else {
        return;
    };
    let namespace = stage.namespace("server").to_owned();
    let path = std::path::PathBuf::from("/run/netns").join(&namespace);
    assert!(path.exists());
    stage.kill();
    assert!(path.exists());
    run(Command::new(program()).args(["link", "clear"]));
    assert!(!path.exists());
    let left = run(Command::new("ip").args(["netns", "list"]));
    assert!(!left.contains(&namespace), "{left}");
    assert!(!stage.control.exists());
}

#[test]
fn a_bad_topology_is_refused_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{RELAY}forward.delay = 3\n")).unwrap();
    let output = Command::new(program())
        .args(["link", "up"])
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("line 9") && said.contains("delay"), "{said}");
}
