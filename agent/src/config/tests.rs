use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn refused(text: &str) -> String {
    Config::parse(text, "weir.toml").unwrap_err().to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(Config::parse("", "weir.toml").unwrap(), Config::default());
    assert!(Config::default().faults().is_empty());
}

#[test]
fn the_default_file_says_the_defaults() {
    let text = Config::default_text();
    assert_eq!(
        Config::parse(&text, "weir.toml").unwrap(),
        Config::default()
    );
    for line in text.lines() {
        assert!(line.len() <= 100, "{line}");
    }
    // Every value is there and not merely implied.
    let said: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(said, toml::Table::try_from(Config::default()).unwrap());
}

#[test]
fn every_field_is_explained_in_both_texts() {
    fn check(fields: &[schema::Field], text: &str, reference: &str) {
        for field in fields {
            assert!(!field.doc.is_empty(), "{} has no meaning", field.path);
            if field.is_table() || (field.is_open && !field.path.contains('.')) {
                assert!(text.contains(&format!("{}\n", field.heading())));
                assert!(reference.contains(&format!("## `{}`\n", field.heading())));
            } else {
                let line = format!("{} = ", field.key);
                assert!(
                    text.contains(&format!("\n{line}")) || text.contains(&format!("\n# {line}")),
                    "{}",
                    field.path
                );
                assert!(reference.contains(&format!("| `{}` |", field.key)));
            }
            check(&field.fields, text, reference);
        }
    }
    let fields = schema::fields::<Config>();
    assert_eq!(
        fields.len(),
        toml::Table::try_from(Config::default()).unwrap().len()
    );
    check(&fields, &Config::default_text(), &Config::reference());
}

#[test]
fn ring_bytes_reads_like_this() {
    let text = Config::default_text();
    assert!(
        text.contains(
            "\n# Bytes of the ring buffer, or of each CPU's perf buffer; a power of two.\n\
             # A number from 65536 to 268435456.\n# Needs a restart.\nring_bytes = 1048576\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n# \"perf\": A perf buffer for each CPU\n"),
        "{text}"
    );
    assert!(
        Config::reference()
            .contains("| `ring_bytes` | integer | `1048576` | Bytes of the ring buffer"),
        "{}",
        Config::reference()
    );
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_nearest_known() {
    assert_eq!(
        refused("[kernel]\nring_byte = 1\n\n[kernal]\nx = 1\n"),
        "weir.toml:2:1: unknown key `ring_byte` in [kernel]; did you mean `ring_bytes`?\n\
         weir.toml:4:2: unknown key `kernal`; did you mean `kernel`?"
    );
    assert_eq!(
        refused("labels.zzzz = true"),
        "weir.toml:1:8: unknown key `zzzz` in [labels]; known are namespace, pod, container"
    );
    assert_eq!(
        refused("kernel = { sent_rung = 'auto' }"),
        "weir.toml:1:12: unknown key `sent_rung` in [kernel]; did you mean `send_rung`?"
    );
}

#[test]
fn values_of_the_wrong_type_are_refused_with_their_place() {
    for (text, expected) in [
        (
            "[kernel]\nring_bytes = '1M'",
            "weir.toml:2:14: kernel.ring_bytes: invalid type: string \"1M\", expected u32",
        ),
        (
            "[log]\n  level = \"loud\"",
            "weir.toml:2:11: log.level: unknown variant `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
        ),
        (
            "kernel = 3",
            "weir.toml:1:10: kernel: invalid type: integer `3`, expected struct Kernel",
        ),
        (
            "[kernel]\nrequired = [1]",
            "weir.toml:2:13: kernel.required: invalid type: integer `1`, expected a string",
        ),
        (
            "[peer_groups]\nisp = [\"10.0.0.0/8\",\n\"10.1.2.3/8\"]",
            "weir.toml:3:1: peer_groups.isp: `10.1.2.3/8` has bits set behind its prefix; did you mean 10.0.0.0/8?",
        ),
        (
            "[peer_groups]\nisp = 'x'",
            "weir.toml:2:7: peer_groups.isp: invalid type: string \"x\", expected a sequence",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    let message = refused("[log]\nlevel = \n");
    assert!(message.starts_with("weir.toml:2:"), "{message}");
    assert_eq!(message.lines().count(), 1);
    let message = refused("[log]\n[log]\n");
    assert!(message.starts_with("weir.toml:2:"), "{message}");
}

#[test]
fn values_out_of_range_are_refused_with_their_place() {
    assert_eq!(
        refused(
            "\n[kernel]\nmax_connections = 1\nring_bytes = 100000\n[overhead]\ncpu_percent = nan"
        ),
        "weir.toml:3:1: kernel.max_connections is 1: give a number from 1024 to 4194304\n\
         weir.toml:4:1: kernel.ring_bytes is 100000: give a power of two such as 131072\n\
         weir.toml:6:1: overhead.cpu_percent is nan: give a number from 0 to 100000"
    );
    let message = refused("kernel = { memory_bytes = 4194304, ring_bytes = 4194304 }");
    assert!(
        message.contains("at most half of kernel.memory_bytes"),
        "{message}"
    );
    assert_eq!(
        refused("[kernel]\nrequired = ['tcp_send']\ndisabled = ['x',\n'tcp_send']"),
        "weir.toml:4:1: kernel.disabled[1] is `tcp_send`, which kernel.required names too"
    );
}

#[test]
fn receivers_of_alerts_are_checked_with_their_places() {
    let text = "[alert]\nlog_hours = 0\n[[alert.webhook]]\nname = 'a'\nurl = 'http://h/'\n\
                [[alert.webhook]]\nname = 'b'\nurl = 'http://h/'\nbatch = 0";
    assert_eq!(
        refused(text),
        "weir.toml:2:1: alert.log_hours is 0: give a number from 1 to 8760\n\
         weir.toml:9:1: alert.webhook[1].batch is 0: give a number from 1 to 1024\n\
         weir.toml:9:1: alert.webhook[1].batch is 0: give a number from 1 to 1024"
    );
    assert_eq!(
        refused("[[alert.webhook]]\nurll = 'x'"),
        "weir.toml:2:1: unknown key `urll` in [alert.webhook]; did you mean `url`?"
    );
    assert_eq!(
        refused("[[alert.alertmanager]]\nurls = ['am:9093']"),
        "weir.toml:2:1: alert.alertmanager[0].urls: am:9093: give http://host:port or https://host:port"
    );
}

#[test]
fn peer_groups_keep_ranges_of_both_families_sorted_by_name() {
    let config = Config::parse(
        "[peer_groups]\nwest = ['2001:db8::/32', '10.0.0.0/8']\neast = ['10.1.0.0/16', '192.0.2.7']\n",
        "weir.toml",
    )
    .unwrap();
    let groups: Vec<_> = config
        .peer_groups
        .iter()
        .map(|(name, prefixes)| (name, prefixes.iter().map(ToString::to_string).collect()))
        .collect();
    let expected: Vec<(&str, Vec<String>)> = vec![
        ("east", vec!["10.1.0.0/16".into(), "192.0.2.7/32".into()]),
        ("west", vec!["2001:db8::/32".into(), "10.0.0.0/8".into()]),
    ];
    assert_eq!(groups, expected);
    let v4 = |tail: [u8; 4]| Ipv4Addr::from(tail).to_ipv6_mapped().octets();
    let expected = vec![
        (v4([10, 1, 0, 0]), 112, 1),
        (v4([192, 0, 2, 7]), 128, 1),
        ("2001:db8::".parse::<Ipv6Addr>().unwrap().octets(), 32, 2),
        (v4([10, 0, 0, 0]), 104, 2),
    ];
    assert_eq!(config.peer_groups.table(), expected);
}

#[test]
fn a_range_of_ipv6_holds_no_ipv4_peers() {
    let read = |text| {
        Config::parse(text, "weir.toml")
            .unwrap()
            .peer_groups
            .table()
    };
    let all = [0; 16];
    let v4 = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets();
    assert_eq!(
        read("[peer_groups]\nsix = ['::/0']"),
        [(all, 0, 1), (v4, 96, 0)]
    );
    assert_eq!(
        read("[peer_groups]\nfour = ['0.0.0.0/0']\nsix = ['::/0']"),
        [(v4, 96, 1), (all, 0, 2)]
    );
}

#[test]
fn a_range_in_two_groups_is_refused_with_both_places() {
    assert_eq!(
        refused("[peer_groups]\na = ['10.0.0.0/8']\nb = ['192.0.2.0/24',\n'10.0.0.0/8']"),
        "weir.toml:2:6: peer_groups.a[0] is 10.0.0.0/8, and so is peer_groups.b[1]: a range belongs to one group\n\
         weir.toml:4:1: peer_groups.b[1] is 10.0.0.0/8, and so is peer_groups.a[0]: a range belongs to one group"
    );
}

#[test]
fn groups_are_bounded_and_named_fit_for_a_label() {
    let many: String = (0..65)
        .map(|n| format!("g{n} = ['10.0.{n}.0/24']\n"))
        .collect();
    assert!(refused(&format!("[peer_groups]\n{many}")).contains("65 groups: give at most 64"));
    assert!(refused("[peer_groups]\nother = []").starts_with("weir.toml:2:1: peer_groups.other"));
    assert!(refused("[peer_groups]\n\"a b\" = []").contains("`a b`"));
    let ranges: String = (0..=peer::MAX_PREFIXES)
        .map(|n| format!("'10.{}.{}.0/24',", n / 256, n % 256))
        .collect();
    let message = refused(&format!("[peer_groups]\na = [{ranges}]"));
    assert!(
        message.contains("16385 ranges: give at most 16384"),
        "{message}"
    );
    assert!(refused("[peer_groups]\na = ['::ffff:10.0.0.0/104']").contains("write it as IPv4"));
}

#[test]
fn only_what_is_read_at_the_start_needs_a_restart() {
    let old = Config::default();
    let mut new = old.clone();
    new.log.level = LogLevel::Debug;
    new.labels.pod = true;
    assert!(changes_needing_restart(&old, &new).is_empty());
    new.kernel.ring_bytes *= 2;
    new.log.format = LogFormat::Json;
    assert_eq!(
        changes_needing_restart(&old, &new),
        ["log.format", "kernel.ring_bytes"]
    );
}

#[test]
fn only_the_default_file_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(
        error.contains("x.toml") && error.contains("--config"),
        "{error}"
    );
    std::fs::write(&path, "[labels]\npod = true").unwrap();
    assert!(Config::load(Some(&path)).unwrap().labels.pod);
    std::fs::write(&path, [0xff]).unwrap();
    assert!(Config::load(Some(&path)).is_err());
    assert!(Config::load(Some(Path::new("/dev/zero"))).is_err());
    if !Path::new(DEFAULT_PATH).exists() {
        assert_eq!(Config::load(None).unwrap(), Config::default());
    }
}

/// Shapes that other sections have.
mod shapes {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    #[derive(Default, Serialize, JsonSchema)]
    struct Root {
        /// A section.
        push: Push,
    }

    /// A section with others in it, any number of times.
    #[derive(Default, Serialize, JsonSchema)]
    struct Many {
        /// A section.
        page: Page,
    }

    /// A section.
    #[derive(Default, Serialize, JsonSchema)]
    struct Page {
        /// A flag.
        on: bool,
        /// Who gets it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hook: Vec<Hook>,
    }

    /// A receiver.
    #[derive(Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default)]
    struct Hook {
        /// Where it is.
        url: String,
        /// How many.
        #[schemars(range(min = 1, max = 9))]
        batch: u32,
    }

    impl Default for Hook {
        fn default() -> Self {
            Self {
                url: String::new(),
                batch: 4,
            }
        }
    }

    #[test]
    fn sections_that_repeat_are_shown_commented_out_and_checked_one_by_one() {
        let fields = schema::fields::<Many>();
        let text = text::default_text(&fields);
        let (_, section) = text.split_once("\n\n").unwrap();
        assert_eq!(
            section,
            "# A section.\n[page]\n\n# A flag.\non = false\n\n\
             # Who gets it.\n# [[page.hook]]\n\n# Where it is.\n# url = \"\"\n\n\
             # How many.\n# A number from 1 to 9.\n# batch = 4\n"
        );
        let hook = |batch| Hook {
            batch,
            ..Hook::default()
        };
        let hook = vec![hook(9), hook(10)];
        let many = Many {
            page: Page { on: true, hook },
        };
        assert_eq!(
            schema::out_of_range(&fields, &many),
            ["page.hook[1].batch is 10: give a number from 1 to 9"]
        );
    }

    /// A section.
    #[derive(Serialize, JsonSchema)]
    struct Push {
        /// A file.
        file: PathBuf,
        /// A table whose keys the user names.
        headers: BTreeMap<String, String>,
        /// Not set by default.
        name: Option<String>,
        /// Not set by default, with keys of its own.
        tls: Option<Tls>,
        /// A flag.
        on: bool,
    }

    /// A table.
    #[derive(Default, Serialize, JsonSchema)]
    struct Tls {
        /// A certificate.
        cert: String,
    }

    impl Default for Push {
        fn default() -> Self {
            Self {
                file: PathBuf::from("/x"),
                headers: BTreeMap::new(),
                name: None,
                tls: None,
                on: true,
            }
        }
    }

    #[test]
    fn optional_and_open_fields_are_shown_commented_out() {
        let text = text::default_text(&schema::fields::<Root>());
        let (_, section) = text.split_once("\n\n").unwrap();
        assert_eq!(
            section,
            "# A section.\n[push]\n\n# A file.\nfile = \"/x\"\n\n\
             # A table whose keys the user names.\nheaders = {}\n\n\
             # Not set by default.\n# name = \"\"\n\n# A flag.\non = true\n\n\
             # Not set by default, with keys of its own.\n# [push.tls]\n\n\
             # A certificate.\n# cert = \"\"\n"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,64}") {
        let _ = Config::parse(&text, "weir.toml");
    }

    #[test]
    fn any_change_of_the_default_file_is_read_or_refused(at in 0..4000usize, with in "\\PC{0,3}|\n") {
        let mut text = Config::default_text();
        let at = at % text.len();
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        text.replace_range(at..=at, &with);
        if let Err(error) = Config::parse(&text, "weir.toml") {
            prop_assert!(error.to_string().starts_with("weir.toml:"), "{error}");
        }
    }
}
