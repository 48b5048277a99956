use proptest::prelude::*;

use super::*;

const FINE: &str = r#"
name = "dip"
about = "The rate dips."
seconds = 30
seed = 1

[network]
nodes = ["server", "players"]
[[network.link]]
name = "access"
from = "server"
to = "players"
addresses = ["10.90.1.1/24", "10.90.1.2/24"]

[[disk]]
name = "small"
mib = 8

[services]
node = "server"
run = ["origin", "chat"]
[services.config.log]
json = true

[[program]]
name = "encoder"
node = "server"
command = ["ffmpeg"]

[[crowd]]
name = "viewers"
node = "players"
players = 3
stream = "{origin.http}/x.m3u8"
[crowd.scene.players]
stay_s = 5

[[fault]]
at_s = 5
lasts_s = 5
link = { name = "access", direction = "forward", set = { rate_bps = 500_000 } }

[[fault]]
at_s = 12
lasts_s = 3
stop = "encoder"
"#;

#[test]
fn a_fault_comes_again_as_long_as_it_fits() {
    let text = FINE.replace("lasts_s = 5", "lasts_s = 5\nevery_s = 10");
    let scenario = Scenario::parse(&text).unwrap();
    let times: Vec<f64> = scenario.fault.iter().map(|fault| fault.at_s).collect();
    assert_eq!(times, [5.0, 15.0, 25.0, 12.0]);
    for (every, said) in [
        ("5", "every_s = 5"),
        ("0.0001", "every_s"),
        ("nan", "every_s"),
    ] {
        let text = FINE.replace("lasts_s = 5", &format!("lasts_s = 5\nevery_s = {every}"));
        let error = format!("{:#}", Scenario::parse(&text).unwrap_err());
        assert!(error.contains(said) && error.contains("fault 1"), "{error}");
    }
    let late = FINE.replace(
        "at_s = 5\nlasts_s = 5",
        "at_s = 28\nlasts_s = 5\nevery_s = 9",
    );
    let error = format!("{:#}", Scenario::parse(&late).unwrap_err());
    assert!(error.contains("it ends after 33 s"), "{error}");
}

#[test]
fn a_whole_file_is_read() {
    let scenario = Scenario::parse(FINE).unwrap();
    assert_eq!(scenario.fault.len(), 2);
    assert_eq!(scenario.fault[0].name().unwrap(), "rate");
    assert_eq!(scenario.fault[1].name().unwrap(), "stop");
}

#[test]
fn what_cannot_be_run_is_refused_by_place() {
    for (change, into, said) in [
        ("seconds = 30", "seconds = 30\nlength = 4", "line 5"),
        (
            "stop = \"encoder\"",
            "stop = \"decoder\"",
            "no service or program \"decoder\"",
        ),
        (
            "stop = \"encoder\"",
            "stop = \"encoder\"\nkill = \"chat\"",
            "exactly one",
        ),
        ("stop = \"encoder\"", "", "exactly one"),
        ("rate_bps = 500_000", "rate = 1", "unknown field `rate`"),
        ("rate_bps = 500_000", "loss = 7", "loss"),
        (
            "name = \"access\", dir",
            "name = \"axess\", dir",
            "no link \"axess\"",
        ),
        ("lasts_s = 3", "lasts_s = 30", "later than the scenario"),
        ("name = \"encoder\"", "name = \"chat\"", "twice"),
        ("node = \"players\"", "node = \"moon\"", "no node \"moon\""),
        ("mib = 8", "mib = 0", "mib"),
        ("\"origin\", \"chat\"", "\"origin\", \"cat\"", "line 21"),
        (
            "stop = \"encoder\"",
            "fill = { disk = \"large\" }",
            "no disk \"large\"",
        ),
        (
            "stop = \"encoder\"",
            "cpu = { target = \"chat\", cpus = 0 }",
            "cpus",
        ),
        (
            "stop = \"encoder\"",
            "say = { crowd = \"x\", begin = {} }",
            "no crowd \"x\"",
        ),
    ] {
        assert!(FINE.contains(change), "{change}");
        let error = format!(
            "{:#}",
            Scenario::parse(&FINE.replacen(change, into, 1)).unwrap_err()
        );
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn two_faults_at_one_place_at_one_time_are_refused() {
    let twice = format!("{FINE}[[fault]]\nat_s = 14\nlasts_s = 2\nstop = \"encoder\"\n");
    assert!(format!("{:#}", Scenario::parse(&twice).unwrap_err()).contains("same time"));
    let after = format!("{FINE}[[fault]]\nat_s = 15\nlasts_s = 2\nstop = \"encoder\"\n");
    Scenario::parse(&after).unwrap();
}

#[test]
fn every_scenario_in_the_tree_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = HashSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::load(&path).unwrap();
        assert_eq!(
            path.file_stem().unwrap().to_str(),
            Some(scenario.name.as_str())
        );
        names.insert(scenario.name);
    }
    assert!(names.len() >= 10, "{names:?}");
}

proptest! {
    #[test]
    fn any_text_is_a_scenario_or_an_error(text in "\\PC{0,200}", cut in 0_usize..900) {
        let _ = Scenario::parse(&text);
        let _ = Scenario::parse(FINE.get(..cut).unwrap_or_default());
    }
}
