//! Which rung next: hls.js's rule (1.7, `abr-controller`), as a pure function of what was measured.
//!
//! The rule: the highest rung whose bit rate fits a share of the estimated throughput, 95 % for
//! staying or going down and 70 % for going up. The estimate is the lower of a fast and a slow
//! weighted mean, so it falls quickly and rises slowly.

mod estimator;
mod ewma;

pub(crate) use estimator::Estimator;

/// Share of the estimate that a rung may use when not going up (`abrBandWidthFactor`).
const KEEP_SHARE: f64 = 0.95;
/// The same when going up (`abrBandWidthUpFactor`).
pub(crate) const RAISE_SHARE: f64 = 0.7;
/// Longest stall that a choice may risk, seconds (`maxStarvationDelay`).
const MAX_STARVATION_S: f64 = 4.0;

/// A rung as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rung {
    /// Peak, bits per second.
    pub(crate) peak_bps: f64,
    /// Mean, bits per second.
    pub(crate) mean_bps: f64,
}

/// What the rule looks at besides the rungs (which ascend by peak).
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Rung of the last object loaded; none before the first.
    pub(crate) last: Option<usize>,
    /// Rung that the player is on.
    pub(crate) current: usize,
    /// Media ahead of the playhead, seconds.
    pub(crate) buffer_s: f64,
    /// Duration of the object last asked for, seconds; 0 before the first.
    pub(crate) object_s: f64,
    pub(crate) live: bool,
    /// How long the last playlist took to load, seconds.
    pub(crate) playlist_s: f64,
}

/// The rung to load next.
pub(crate) fn choose(rungs: &[Rung], estimator: &Estimator, view: &View) -> usize {
    let Some(_) = view.last else {
        return choose_first(rungs, estimator.bps());
    };
    if !estimator.is_sure() {
        // What came was too quick to measure: the default estimate still holds, and all of it.
        let view = View {
            buffer_s: view.buffer_s / 2.0,
            ..*view
        };
        let whole = Shares {
            keep: 1.0,
            raise: 1.0,
        };
        return best(rungs, estimator, &view, MAX_STARVATION_S, whole).unwrap_or(0);
    }
    let shares = Shares {
        keep: KEEP_SHARE,
        raise: RAISE_SHARE,
    };
    let sure = (view.buffer_s > 0.0)
        .then(|| best(rungs, estimator, view, 0.0, shares))
        .flatten();
    let risk = if view.object_s > 0.0 {
        view.object_s.min(MAX_STARVATION_S)
    } else {
        MAX_STARVATION_S
    };
    sure.or_else(|| best(rungs, estimator, view, risk, shares))
        .unwrap_or(0)
}

/// Shares of the estimate that a rung may use: when not going up, and when going up.
#[derive(Clone, Copy, Debug)]
struct Shares {
    keep: f64,
    raise: f64,
}

/// Before anything was measured: the highest rung that the default estimate carries, else the lowest.
fn choose_first(rungs: &[Rung], bps: f64) -> usize {
    rungs
        .iter()
        .rposition(|rung| rung.peak_bps <= bps)
        .unwrap_or(0)
}

/// hls.js's `findBestLevel`.
fn best(
    rungs: &[Rung],
    estimator: &Estimator,
    view: &View,
    risk_s: f64,
    shares: Shares,
) -> Option<usize> {
    let from = view.last.unwrap_or(view.current);
    let first_byte_s = estimator.first_byte_s();
    let object_s = if view.object_s > 0.0 {
        view.object_s
    } else {
        1.0
    };
    (0..rungs.len()).rev().find(|&index| {
        let share = if index > from {
            shares.raise
        } else {
            shares.keep
        };
        let usable = share * estimator.bps();
        let rung = rungs[index];
        let deep = view.object_s > 0.0 && view.buffer_s >= 2.0 * view.object_s && risk_s == 0.0;
        let bps = if deep { rung.mean_bps } else { rung.peak_bps };
        let fetch_s =
            first_byte_s + bps * object_s / usable.max(1.0) + first_byte_s + view.playlist_s;
        usable >= bps && (view.live || fetch_s < view.buffer_s + risk_s)
    })
}

/// An object on its way, for [`abandon`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) rung: usize,
    pub(crate) duration_s: f64,
    /// Since it was asked for.
    pub(crate) elapsed_s: f64,
    /// From the request to the first byte, if one came.
    pub(crate) first_byte_s: Option<f64>,
    /// Bytes so far.
    pub(crate) loaded: u64,
}

/// What to do about an object that will not come in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Abandon {
    /// The rung to take instead.
    pub(crate) rung: usize,
    /// How much longer the object may take before it is given up for that rung, seconds. The
    /// lowest rung never interrupts it: it goes on until media of the lowest is asked for.
    pub(crate) grace_s: f64,
}

/// hls.js's `_abandonRulesCheck`: whether to give up an object because a lower rung would come
/// sooner and this one later than the buffer lasts. `playlist_s` is how long the last playlist
/// took; another rung of a live stream needs one.
pub(crate) fn abandon(
    rungs: &[Rung],
    estimator: &Estimator,
    loading: &Loading,
    buffer_s: f64,
    live: bool,
    playlist_s: f64,
) -> Option<Abandon> {
    let first_byte_s = estimator.first_byte_s();
    let is_early = loading.elapsed_s <= first_byte_s.max(loading.duration_s / 2.0);
    // With one rung below there is no rung to compare with: the search leaves out the lowest.
    if loading.rung <= 1 || is_early {
        return None;
    }
    let rate = rate_of(loading, estimator);
    let loaded = bits(loading.loaded);
    let expected = loaded.max(loading.duration_s * rungs[loading.rung].mean_bps);
    let remaining_s = match rate {
        Some(rate) => (expected - loaded) / rate,
        None => expected / estimator.bps() + first_byte_s,
    };
    if remaining_s <= buffer_s {
        return None;
    }
    let bps = rate.unwrap_or(estimator.bps());
    let switch_s = if live { first_byte_s + playlist_s } else { 0.0 };
    let time_at =
        |rung: usize| first_byte_s + loading.duration_s * rungs[rung].peak_bps / bps + switch_s;
    let limit = buffer_s.min(loading.duration_s + first_byte_s);
    let rung = (1..loading.rung)
        .rev()
        .find(|&rung| time_at(rung) < limit)
        .unwrap_or(0);
    // With none fitting, the delay stays that of the last one tried.
    let delay_s = time_at(rung.max(1));
    if delay_s >= remaining_s || delay_s > 10.0 * loading.duration_s {
        return None;
    }
    let grace_s = match rung {
        0 => f64::INFINITY,
        _ if remaining_s > 2.0 * delay_s => 0.0,
        _ => delay_s,
    };
    Some(Abandon { rung, grace_s })
}

/// Bits per second at which an object comes; none before its first bytes.
fn rate_of(loading: &Loading, estimator: &Estimator) -> Option<f64> {
    let first_s = loading.first_byte_s.filter(|_| loading.loaded > 0)?;
    let loaded = bits(loading.loaded);
    let streaming_s = loading.elapsed_s - first_s;
    let streaming_s = if streaming_s < 1e-3 {
        loading.elapsed_s.min(loaded / estimator.bps())
    } else {
        streaming_s
    };
    Some(loaded / streaming_s.max(1e-6))
}

#[expect(clippy::cast_precision_loss, reason = "bodies are far below 2^53 bits")]
fn bits(bytes: u64) -> f64 {
    bytes as f64 * 8.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rungs() -> Vec<Rung> {
        [400e3, 1_100e3, 2_700e3]
            .map(|peak_bps| Rung {
                peak_bps,
                mean_bps: peak_bps * 0.9,
            })
            .to_vec()
    }

    fn fed(bps: f64) -> Estimator {
        let mut estimator = Estimator::new(500e3);
        for _ in 0..50 {
            estimator.add(1.0, (bps / 8.0) as u64);
        }
        estimator
    }

    fn view(last: usize, buffer_s: f64) -> View {
        View {
            last: Some(last),
            current: last,
            buffer_s,
            object_s: 2.0,
            live: true,
            playlist_s: 0.02,
        }
    }

    #[test]
    fn the_first_rung_is_what_the_default_estimate_carries() {
        let view = View {
            last: None,
            ..view(0, 0.0)
        };
        assert_eq!(choose(&rungs(), &Estimator::new(500e3), &view), 0);
        assert_eq!(choose(&rungs(), &Estimator::new(2_700e3), &view), 2);
        assert_eq!(choose(&rungs(), &Estimator::new(10.0), &view), 0);
    }

    #[test]
    fn objects_too_quick_to_measure_do_not_change_the_rung() {
        let mut estimator = Estimator::new(2_700e3);
        estimator.add(0.0, 20_000);
        assert_eq!(choose(&rungs(), &estimator, &view(2, 0.2)), 2);
        estimator.add(1.0, 337_500);
        assert_eq!(
            choose(&rungs(), &estimator, &view(2, 0.2)),
            1,
            "a rung needs some more than itself once that is measured"
        );
    }

    #[test]
    fn going_up_asks_for_more_than_staying() {
        let estimator = fed(3_200e3);
        assert_eq!(choose(&rungs(), &estimator, &view(1, 6.0)), 1);
        assert_eq!(choose(&rungs(), &estimator, &view(2, 6.0)), 2);
        assert_eq!(choose(&rungs(), &fed(5_000e3), &view(1, 6.0)), 2);
    }

    #[test]
    fn a_hopeless_object_is_abandoned_for_the_lowest_rung() {
        let loading = Loading {
            rung: 2,
            duration_s: 2.0,
            elapsed_s: 2.0,
            first_byte_s: Some(0.1),
            loaded: 50_000,
        };
        let judge = |loading: &Loading, buffer_s| {
            abandon(&rungs(), &fed(3_000e3), loading, buffer_s, true, 0.02)
        };
        let abandoned = judge(&loading, 1.0).unwrap();
        assert_eq!((abandoned.rung, abandoned.grace_s), (0, f64::INFINITY));
        assert_eq!(judge(&loading, 60.0), None);
        let lower = Loading { rung: 1, ..loading };
        assert_eq!(
            judge(&lower, 1.0),
            None,
            "nothing between it and the lowest"
        );
    }

    #[test]
    fn a_slow_part_is_given_up_within_half_a_second() {
        let part = |elapsed_s: f64| Loading {
            rung: 2,
            duration_s: 0.2,
            elapsed_s,
            first_byte_s: Some(0.02),
            loaded: ((elapsed_s - 0.02) * 400e3 / 8.0) as u64,
        };
        let at = (1..20)
            .map(|look| f64::from(look) / 10.0)
            .find(|&elapsed_s| {
                let buffer_s = 0.9 - elapsed_s;
                abandon(
                    &rungs(),
                    &fed(6_000e3),
                    &part(elapsed_s),
                    buffer_s,
                    true,
                    0.02,
                )
                .is_some()
            });
        assert!(at.is_some_and(|at| at <= 0.5), "{at:?}");
    }

    proptest! {
        #[test]
        fn more_throughput_never_means_a_lower_rung(a in 1e4..2e7_f64, b in 1e4..2e7_f64, last in 0_usize..3, buffer_s in 0.0..30.0_f64) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let rungs = rungs();
            let view = view(last, buffer_s);
            prop_assert!(choose(&rungs, &fed(low), &view) <= choose(&rungs, &fed(high), &view));
        }

        #[test]
        fn an_abandoned_object_is_followed_by_a_lower_rung(rung in 0_usize..3, elapsed_s in 0.0..20.0_f64, loaded in 0_u64..1_000_000, buffer_s in 0.0..10.0_f64, bps in 1e4..1e7_f64) {
            let first_byte_s = (loaded > 0).then_some(elapsed_s / 2.0);
            let loading = Loading { rung, duration_s: 2.0, elapsed_s, first_byte_s, loaded };
            if let Some(abandoned) = abandon(&rungs(), &fed(bps), &loading, buffer_s, true, 0.02) {
                prop_assert!(abandoned.rung < rung);
            }
        }
    }
}
