use super::*;
use crate::alert::expression::Expression;
use crate::alert::source::{Query as _, Series, vector};
use proptest::prelude::*;
use weir_promql::eval::Options;
use weir_promql::store::{Need, StoreLimits};
use weir_promql::value::Sample;

/// Expressions that can be taken apart.
const APART: &[&str] = &[
    "m > 1",
    "increase(m[1m]) > 1",
    "-rate(m[1m])",
    "sum by (service) (increase(m[1m])) > 0",
    "sum by (service, kind) (rate(m[1m])) > 0.01",
    "avg by (service) (rate(m{kind='a'}[1m])) / avg by (service) (rate(n[1m]))",
    "max by (service) (max_over_time(m[1m])) >= 2",
    "increase(m[1m]) > 1 and n > 0",
    "m unless on (service) n",
    "increase(m[1m]) / ignoring () increase(n[1m])",
    "topk by (service) (1, m)",
    "clamp_max(m, 3) + 2 * m",
    "sum by (service, kind) (m) > on (service) group_left sum by (service) (n) * 0",
    "avg_over_time(rate(m[30s])[1m:10s])",
    "quantile by (service) (0.5, m)",
];

/// Expressions that cannot, or of which nobody knows.
const WHOLE: &[&str] = &[
    "sum(m)",
    "sum without (kind) (m)",
    "absent(m)",
    "m > scalar(sum(n))",
    "count_values by (service) ('v', m)",
    "m / on () sum(n)",
    "m * ignoring (kind) n",
    "label_replace(m, 'service', 'x', '', '')",
    "histogram_quantile(0.9, m)",
    "vector(1)",
    "time() > bool 0",
    "sum by (service) (m) + on (kind) m",
];

fn keys(text: &str) -> Option<Keys> {
    Keys::of(Expression::parse(text).unwrap().tree())
}

#[test]
fn what_rests_on_a_series_or_a_group_alone_can_be_taken_apart() {
    for text in APART {
        assert!(keys(text).is_some(), "{text}");
    }
    for text in WHOLE {
        assert_eq!(keys(text), None, "{text}");
    }
    let of_service = Keys::Only(vec!["service".to_owned()]);
    assert_eq!(keys(APART[3]), Some(of_service));
    assert_eq!(keys(APART[1]), Some(Keys::All));
}

fn series(name: &str, service: usize, kind: &str) -> Labels {
    let service = format!("s{service}");
    Labels::new([(NAME, name), ("service", &service), ("kind", kind)])
}

/// Three services with two metrics of two kinds, and random steps of their counters.
fn store(steps: &[u8]) -> Store {
    let mut store = Store::new(StoreLimits {
        series: 100,
        samples: 10_000,
        bytes: 1 << 24,
        idle_ms: i64::MAX,
    });
    store.set_needs(vec![Need {
        matchers: Vec::new(),
        window_ms: 300_000,
    }]);
    for (at, labels) in all().into_iter().enumerate() {
        let mut value = 0;
        for (n, at_ms) in (0..8).map(|n| (n, 10_000 * (n as i64 + 1))) {
            let step = steps[(at * 8 + n) % steps.len()];
            value += u32::from(step % 4);
            // Some series begin late or have gaps.
            if step < 200 {
                let point = Point {
                    at_ms,
                    start_ms: 0,
                    value: f64::from(value).into(),
                };
                store.append(&labels, point).unwrap();
            }
        }
    }
    store
}

fn all() -> Vec<Labels> {
    let mut all = Vec::new();
    for (name, kind) in [("m", "a"), ("m", "b"), ("n", "a"), ("n", "b")] {
        all.extend((0..3).map(|service| series(name, service, kind)));
    }
    all
}

fn looked_up(touched: &[Labels], store: &Store) -> Touched {
    let touched: Vec<_> = touched
        .iter()
        .map(|labels| (labels.clone(), None))
        .collect();
    Touched::new(&touched, store, true)
}

/// Elements that belong to a part, sorted; an error as its text.
fn elements(result: Result<Vec<Sample>, String>, part: &Part) -> Result<Vec<String>, String> {
    let samples = result?.into_iter();
    let of_part = samples.filter(|sample| part.has(&sample.labels));
    let mut texts: Vec<_> = of_part
        .map(|sample| format!("{} {:?}", sample.labels, sample.value))
        .collect();
    texts.sort();
    Ok(texts)
}

proptest! {
    #[test]
    fn a_part_is_what_the_whole_has_of_it_and_no_other_series_could_change_it(
        steps in proptest::collection::vec(any::<u8>(), 96),
        touched in proptest::collection::vec(0_usize..12, 1..4),
    ) {
        let mut store = store(&steps);
        let touched: Vec<_> = touched.into_iter().map(|at| all()[at].clone()).collect();
        for text in APART {
            let expr = Expression::parse(text).unwrap();
            let keys = Keys::of(expr.tree()).unwrap();
            let changed = looked_up(&touched, &store);
            let part = Part::of(expr.tree(), &keys, std::iter::empty(), &changed).unwrap();
            let alone = Alone::of(expr.tree(), &keys, std::iter::empty());
            let alone = alone.and_then(|alone| alone.part(&changed));
            for part in [part].into_iter().chain(alone) {
                let options = Options::default();
                let series = Series::new(&mut store, &options);
                let whole = series.instant(&expr, 80_000).and_then(vector);
                let alone = series.part(&expr, 80_000, &part).and_then(vector);
                // Elements of other services may collide where those of the part do not.
                if whole.is_ok() {
                    prop_assert_eq!(elements(whole, &part), elements(alone, &part), "{}", text);
                }
                // What the touched series had before makes no difference outside the part.
                for labels in &touched {
                    let grown = Point { at_ms: 80_001, start_ms: 0, value: 1e6.into() };
                    let mut other = Store::new(StoreLimits {
                        series: 100, samples: 10_000, bytes: 1 << 24, idle_ms: i64::MAX,
                    });
                    other.set_needs(vec![Need { matchers: Vec::new(), window_ms: 300_000 }]);
                    store.copy_to(&mut other, &[], i64::MAX, 0).unwrap();
                    let _ = other.append(labels, grown);
                    let at = |store: &mut Store| {
                        let options = Options::default();
                        let series = Series::new(store, &options);
                        let all = series.instant(&expr, 80_001).and_then(vector)?;
                        let out = all.into_iter().filter(|sample| !part.has(&sample.labels));
                        let mut texts: Vec<_> = out.map(|s| format!("{} {:?}", s.labels, s.value)).collect();
                        texts.sort();
                        Ok::<_, String>(texts)
                    };
                    if let (Ok(before), Ok(after)) = (at(&mut store), at(&mut other)) {
                        prop_assert_eq!(before, after, "{} {}", text, labels);
                    }
                }
            }
        }
    }
}

#[test]
fn labels_that_the_rule_sets_tell_no_parts_apart() {
    let expr = Expression::parse("m > 1").unwrap();
    let touched = [series("m", 0, "a"), series("n", 1, "a")];
    let store = store(&[1]);
    let all = looked_up(&touched, &store);
    let of = |own: &[String]| Part::of(expr.tree(), &Keys::All, own.iter(), &all);
    let part = of(&["severity".to_owned()]).unwrap();
    assert!(part.has(&touched[0]) && !part.has(&touched[1]));
    assert_eq!(of(&["service".to_owned()]), None);
    let other = looked_up(&touched[1..], &store);
    let other = Part::of(expr.tree(), &Keys::All, std::iter::empty(), &other);
    assert!(other.unwrap().is_empty(), "it does not read n");
}

#[test]
fn a_series_for_itself_has_the_alerts_that_have_its_labels_and_the_rules_own() {
    let alone = |text: &str, own: &[&str]| {
        let expr = Expression::parse(text).unwrap();
        let own: Vec<_> = own.iter().map(|name| (*name).to_owned()).collect();
        Alone::of(expr.tree(), &Keys::of(expr.tree())?, own.iter())
    };
    let texts = APART.iter().filter(|text| alone(text, &[]).is_some());
    let texts: Vec<_> = texts.copied().collect();
    assert_eq!(
        texts,
        [
            APART[0],
            APART[1],
            APART[2],
            "avg_over_time(rate(m[30s])[1m:10s])"
        ]
    );
    assert!(alone("{__name__=~'m|n'} > 1", &[]).is_none());
    let all = all();
    let changed = looked_up(&[all[0].clone()], &store(&[1]));
    let part = alone("m > 1", &["severity"])
        .unwrap()
        .part(&changed)
        .unwrap();
    let with = |more: &[(&str, &str)]| all[0].with(more);
    assert!(part.has(&with(&[
        (NAME, ""),
        ("alertname", "A"),
        ("severity", "page")
    ])));
    assert!(part.has(&with(&[
        (NAME, "ALERTS"),
        ("alertname", "A"),
        ("alertstate", "firing")
    ])));
    assert!(!part.has(&with(&[("more", "x")])) && !part.has(&with(&[("kind", "b")])));
    assert!(!part.has(&with(&[("kind", "")])));
    let replaced = alone("m > 1", &["kind"]).unwrap();
    assert_eq!(
        replaced.part(&changed),
        None,
        "the rule replaces what tells them apart"
    );
    let gone = looked_up(&[series("m", 9, "a")], &store(&[1]));
    assert_eq!(
        alone("m > 1", &[]).unwrap().part(&gone),
        None,
        "it is not in the store"
    );
}
