//! Tests of the store's bounds, its selection and its memory.

use proptest::prelude::*;

use super::*;
use crate::matcher::{MatchOp, matches_all};
use crate::parse::parse;

fn point(at_ms: i64, value: f64) -> Point {
    Point {
        at_ms,
        start_ms: 0,
        value: value.into(),
    }
}

fn series(name: &str, instance: usize) -> Labels {
    Labels::new([
        ("__name__", name.to_owned()),
        ("instance", instance.to_string()),
    ])
}

fn keep(name: &str, window_ms: i64) -> Need {
    Need {
        matchers: vec![Matcher::equal("__name__", name)],
        window_ms,
    }
}

#[test]
fn only_what_is_needed_keeps_a_past() {
    let mut store = Store::new(StoreLimits::default());
    store.set_needs(vec![keep("kept", 60_000)]);
    for at in 1..=100 {
        store
            .append(&series("kept", 1), point(at * 10_000, at as f64))
            .unwrap();
        store
            .append(&series("last", 1), point(at * 10_000, at as f64))
            .unwrap();
    }
    let mut window = Window::default();
    store.window(SeriesId(0), 940_000, 1_000_000, &mut window);
    assert_eq!(window.floats.len(), 6);
    window.clear();
    store.window(SeriesId(1), 0, 1_000_000, &mut window);
    assert_eq!(window.floats.len(), 1);
    assert_eq!(store.last(SeriesId(0), 0, 955_000).unwrap().at_ms, 950_000);
    assert!(store.last(SeriesId(1), 0, 955_000).is_none());
}

#[test]
fn limits_refuse_and_count() {
    let limits = StoreLimits {
        series: 2,
        samples: 5,
        ..StoreLimits::default()
    };
    let mut store = Store::new(limits);
    store.set_needs(vec![keep("m", i64::MAX)]);
    store.append(&series("m", 1), point(1, 1.0)).unwrap();
    store.append(&series("m", 2), point(1, 1.0)).unwrap();
    assert_eq!(
        store.append(&series("m", 3), point(1, 1.0)),
        Err(Refused::Series(2))
    );
    assert_eq!(
        store.append(&series("m", 1), point(1, 1.0)),
        Err(Refused::OutOfOrder)
    );
    for at in 2..=4 {
        store.append(&series("m", 1), point(at, 1.0)).unwrap();
    }
    assert_eq!(
        store.append(&series("m", 1), point(5, 1.0)),
        Err(Refused::Samples(5))
    );
    assert_eq!(
        (store.stats().refused_full, store.stats().refused_bad),
        (2, 1)
    );
}

#[test]
fn a_full_store_goes_on_with_last_values_and_fills_again_as_windows_pass() {
    let mut store = Store::new(StoreLimits {
        samples: 5,
        ..StoreLimits::default()
    });
    store.set_needs(vec![keep("m", 100)]);
    store.append(&series("m", 1), point(1, 1.0)).unwrap();
    store.append(&series("last", 1), point(1, 1.0)).unwrap();
    for at in 2..=5 {
        store.append(&series("m", 1), point(at, 1.0)).unwrap();
    }
    for at in 6..=104 {
        let full = store.append(&series("m", 1), point(at, 1.0));
        assert_eq!(full, Err(Refused::Samples(5)));
        store.append(&series("last", 1), point(at, 2.0)).unwrap();
    }
    assert_eq!(store.stats().refused_full, 99);
    let id = store.append(&series("m", 1), point(105, 2.0)).unwrap();
    assert_eq!(store.stats().samples, 1);
    assert_eq!(store.last(id, 0, 200).unwrap().at_ms, 105);
}

#[test]
fn idle_series_go_and_their_slots_are_used_again() {
    let mut store = Store::new(StoreLimits {
        idle_ms: 1000,
        ..StoreLimits::default()
    });
    for instance in 0..10 {
        store
            .append(&series("m", instance), point(instance as i64 * 1000, 1.0))
            .unwrap();
    }
    assert_eq!(store.expire(6000), 5);
    let mut found = Vec::new();
    store
        .select(&[Matcher::equal("__name__", "m")], 100, &mut found)
        .unwrap();
    assert_eq!(found.len(), 5);
    let id = store.append(&series("new", 1), point(1, 1.0)).unwrap();
    assert!(id.0 < 10);
    store.expire(i64::MAX);
    assert!(store.is_empty());
    assert_eq!(store.stats().samples, 0);
}

#[test]
fn a_name_from_before_never_reaches_another_series() {
    let mut store = Store::new(StoreLimits::default());
    let (old, new) = (series("old", 1), series("new", 1));
    let id = store.append(&old, point(1, 1.0)).unwrap();
    assert_eq!(store.append_again(id, &old, point(2, 2.0)), Ok(id));
    store.expire(i64::MAX);
    assert_eq!(store.append(&new, point(3, 3.0)), Ok(id));
    let again = store.append_again(id, &old, point(4, 4.0)).unwrap();
    assert_ne!(again, id);
    assert_eq!(store.labels(again), &old);
    assert_eq!(store.last(id, 0, 10).unwrap().at_ms, 3);
}

#[test]
fn five_thousand_series_for_ten_minutes_stay_below_ten_megabytes() {
    let mut store = Store::new(StoreLimits::default());
    store.set_needs(vec![keep("m", 600_000)]);
    let labels: Vec<Labels> = (0..5_000)
        .map(|instance| {
            Labels::new([
                ("__name__", "m".to_owned()),
                ("service", format!("service-{}", instance % 40)),
                ("instance", instance.to_string()),
                ("direction", "egress".to_owned()),
            ])
        })
        .collect();
    for step in 0..180i64 {
        for (at, labels) in labels.iter().enumerate() {
            let noise = ((at as i64 * 31 + step * 17) % 97) as f64;
            let value = match at % 4 {
                0 => 5.0,
                1 => (step * 100) as f64 + noise,
                2 => step as f64 * 0.37 + noise / 100.0,
                _ => (noise + 0.1).sqrt(),
            };
            store.append(labels, point(step * 10_000, value)).unwrap();
        }
    }
    let bytes = store.stats().bytes;
    assert!(bytes <= 10 << 20, "{bytes} bytes");
}

#[test]
fn a_last_value_stands_for_a_present_that_was_a_moment_ago() {
    let mut store = Store::new(StoreLimits::default());
    store
        .append(&series("last", 1), point(1_000_000, 7.0))
        .unwrap();
    let copied = |until_ms, present_ms| {
        let mut copy = Store::new(StoreLimits::default());
        let done = store.copy_to(&mut copy, &[], until_ms, present_ms);
        done.unwrap();
        let found = copy.find(&series("last", 1))?;
        copy.last(found, 0, until_ms).map(|point| point.at_ms)
    };
    assert_eq!(copied(999_000, 0), None);
    assert_eq!(copied(999_000, 999), None);
    assert_eq!(copied(999_000, 1_000), Some(999_000));
    assert_eq!(copied(1_000_000, 1_000), Some(1_000_000));
    assert_eq!(copied(1_200_000, 1_000), Some(1_000_000));
}

#[test]
fn what_leaves_the_window_is_dropped() {
    let mut store = Store::new(StoreLimits::default());
    store.set_needs(vec![keep("m", 300_000)]);
    for step in 0..1_000i64 {
        let sample = point(step * 10_000, step as f64);
        store.append(&series("m", 1), sample).unwrap();
        assert!(store.stats().samples <= 30, "{}", store.stats().samples);
        let mut window = Window::default();
        store.window(
            SeriesId(0),
            (step - 30) * 10_000,
            step * 10_000,
            &mut window,
        );
        let values: Vec<_> = window
            .floats
            .iter()
            .map(|point| point.value as i64)
            .collect();
        let wanted: Vec<_> = ((step - 29).max(0)..=step).collect();
        assert_eq!(values, wanted);
    }
}

#[test]
fn a_need_counts_for_the_metrics_that_it_names() {
    let need = |op, name: &str, window_ms| Need {
        matchers: vec![Matcher::new("__name__", op, name).unwrap()],
        window_ms,
    };
    let windows = Windows::new(vec![
        keep("a", 1),
        need(MatchOp::Regex, "a|b", 2),
        need(MatchOp::Regex, "c.*", 3),
        need(MatchOp::NotEqual, "b", 4),
    ]);
    let of = |name: &str| windows.of(&Labels::new([("__name__", name)]));
    assert_eq!([of("a"), of("b"), of("cd"), of("")], [4, 2, 4, 4]);
}

#[test]
fn needs_sum_up_ranges_offsets_and_subqueries() {
    let of = |text: &str| {
        let expr = parse(text).unwrap();
        needs(&expr, 300_000, 0)
            .map(|list| list.iter().map(|need| need.window_ms).collect::<Vec<_>>())
    };
    assert_eq!(of("a"), Ok(vec![0]));
    assert_eq!(of("a offset 1m"), Ok(vec![360_000]));
    assert_eq!(of("rate(a[5m] offset 1m) + b"), Ok(vec![360_000, 0]));
    assert_eq!(of("max_over_time(rate(a[5m])[1h:1m])"), Ok(vec![3_900_000]));
    assert_eq!(of("a + rate(a[2m])"), Ok(vec![120_000]));
    assert!(of("a @ 10").unwrap_err().to_string().contains("1:1"));
    assert!(of("a[1h] @ start()").is_ok());
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        values in prop::collection::vec(("[ab]{0,2}", "[cd]{0,2}"), 1..40),
        op in prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)],
        wanted in "[ab]{0,2}(\\|[ab]{0,2}){0,2}",
        exact in prop::option::of("[cd]{0,2}"),
    ) {
        let mut store = Store::new(StoreLimits::default());
        for (x, y) in &values {
            let labels = Labels::new([("__name__", "m"), ("x", x), ("y", y)]);
            let _ = store.append(&labels, point(1, 1.0));
        }
        let mut matchers = vec![Matcher::new("x", op, &wanted).unwrap(), Matcher::equal("__name__", "m")];
        matchers.extend(exact.map(|exact| Matcher::equal("y", &exact)));
        let mut found = Vec::new();
        store.select(&matchers, usize::MAX, &mut found).unwrap();
        let mut scanned: Vec<_> = (0..store.entries.len() as u32).map(SeriesId).collect();
        scanned.retain(|id| matches_all(&matchers, store.labels(*id)));
        prop_assert_eq!(found, scanned);
    }
}
