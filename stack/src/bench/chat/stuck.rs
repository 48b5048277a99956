//! What one consumer that never reads costs the others: windows with and without it, in pairs on
//! one server and one crowd, so that what the machine does besides falls on both alike. A cost is
//! the median of the pairs' ratios, with an interval that holds it in at least 95 of 100 such runs
//! whatever the ratios' distribution; the others pay nothing if all of it is within [`MARGIN`].

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Args;
use super::load::{Load, Pace};
use super::target::{Kind, Target};

/// Pairs of windows, the one first and the other first in turn.
const PAIRS: usize = 12;
/// Publishing before a window counts, so that the stuck one's buffers are full.
const FILL: Duration = Duration::from_millis(500);
/// Length of each half of a window.
const WINDOW: Duration = Duration::from_millis(1_500);
/// A smaller share than this is no cost; a real one, a queue that grows or a lane that waits for
/// the stuck consumer, is many times as large.
const MARGIN: f64 = 0.05;
/// How sure an interval has to be.
const CONFIDENCE: f64 = 0.95;

/// One window's figures.
struct Window {
    /// At saturation.
    deliveries_per_s: f64,
    /// At half of it: the server's processor time for a delivery, in nanoseconds.
    cpu_ns: f64,
    /// At half of it, in nanoseconds.
    p99_ns: f64,
    /// At half of it: items that a sample of the others did not get.
    missed: u64,
}

/// What the windows of one sort gave.
#[derive(Default)]
struct Side {
    p99_ms: Vec<f64>,
    missed: u64,
}

impl Side {
    fn add(&mut self, window: &Window) {
        self.p99_ms.push(window.p99_ns / 1e6);
        self.missed += window.missed;
    }
}

/// Measures pairs at `half` (messages a second) and at saturation.
pub(super) async fn measure(args: &Args, half: f64) -> Result<Value> {
    let target = Target::start(Kind::Chat, args)?;
    let mut load = Load::connect(&target, args.consumers, args.text_bytes).await?;
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let (mut without, mut with) = (Side::default(), Side::default());
    for pair in 0..PAIRS {
        let mut windows = [None, None];
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for stuck in order {
            load.set_stuck(&target, stuck).await?;
            windows[stuck] = Some(window(args, &target, &load, half).await?);
        }
        if let [Some(free), Some(stuck)] = windows {
            // Above 1 is worse in all three.
            ratios[0].push(free.deliveries_per_s / stuck.deliveries_per_s);
            ratios[1].push(stuck.cpu_ns / free.cpu_ns);
            ratios[2].push(stuck.p99_ns / free.p99_ns);
            without.add(&free);
            with.add(&stuck);
        }
    }
    let lost = target.lost().await?;
    ensure!(
        lost > 0,
        "the stuck consumer lost nothing: it was not stuck"
    );
    load.finish().await.context("no delay was measured")?;
    let costs = ratios.map(Cost::of);
    let nothing = costs.iter().all(Cost::is_nothing) && with.missed <= without.missed;
    let [time, cpu, p99] = costs.map(|cost| cost.report());
    Ok(json!({
        "pairs": PAIRS,
        "costs_the_others": {
            "time_per_delivery_at_saturation": time,
            "server_cpu_per_delivery_at_half": cpu,
            "delay_p99_at_half": p99,
        },
        "margin": MARGIN,
        "costs_nothing": nothing,
        "delay_p99_ms_at_half": {
            "without": median(&mut without.p99_ms),
            "with": median(&mut with.p99_ms),
        },
        "items_missed_at_half_by_the_sampled_others": {
            "without": without.missed,
            "with": with.missed,
        },
        "items_the_stuck_one_lost": lost,
    }))
}

async fn window(args: &Args, target: &Target, load: &Load, half: f64) -> Result<Window> {
    load.publish(Pace::Saturate(args.window), FILL).await?;
    load.settle().await;
    load.shared.reset();
    let cpu = target.cpu()?;
    load.publish(Pace::Rate(half), WINDOW).await?;
    load.settle().await;
    let cpu = target.cpu()?.saturating_sub(cpu);
    let (delivered, missed) = (load.delivered(), load.missed());
    let p99 = load.shared.delays().value_at_quantile(0.99);
    ensure!(delivered > 0, "nothing was delivered");
    load.shared.reset();
    let start = Instant::now();
    load.publish(Pace::Saturate(args.window), WINDOW).await?;
    let deliveries_per_s = load.delivered() as f64 / start.elapsed().as_secs_f64();
    load.settle().await;
    Ok(Window {
        deliveries_per_s,
        cpu_ns: cpu.as_nanos() as f64 / delivered as f64,
        p99_ns: p99 as f64,
        missed,
    })
}

/// Median of ratios, each above 1 by what a pair's one was worse, and the interval that holds it.
struct Cost {
    median: f64,
    low: f64,
    high: f64,
    confidence: f64,
}

impl Cost {
    fn of(mut ratios: Vec<f64>) -> Self {
        let median = median(&mut ratios);
        let (out, confidence) = outside(ratios.len());
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median,
            low: at(out),
            high: at(ratios.len().saturating_sub(out + 1)),
            confidence,
        }
    }

    fn is_nothing(&self) -> bool {
        self.confidence >= CONFIDENCE && self.high <= 1.0 + MARGIN
    }

    fn report(&self) -> Value {
        json!({
            "median": self.median,
            "from": self.low,
            "to": self.high,
            "confidence": self.confidence,
        })
    }
}

/// How many of `count` sorted values to leave out at each end so that the rest still spans the
/// median of what they are drawn from, and how sure that is: values fall below the median as a
/// fair coin falls (the sign test's interval, Conover, Practical Nonparametric Statistics, 3.2).
fn outside(count: usize) -> (usize, f64) {
    let mut chance = 0.5_f64.powi(count as i32);
    let (mut below, mut left_out, mut sure) = (0.0, 0, 1.0 - 2.0 * chance);
    for index in 0..count / 2 {
        below += chance;
        if 1.0 - 2.0 * below < CONFIDENCE {
            break;
        }
        (left_out, sure) = (index, 1.0 - 2.0 * below);
        chance *= (count - index) as f64 / (index + 1) as f64;
    }
    (left_out, sure)
}

/// Sorts them.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(values[middle - 1], *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_sign_tests_tables() {
        // Binomial tables for one half: 12 values leave out two at each end, 8 none, 20 five.
        for (count, out, percent) in [(12, 2, 96.14), (8, 0, 99.22), (20, 5, 95.86)] {
            let (left_out, sure) = outside(count);
            assert_eq!(left_out, out, "{count}");
            assert!((sure * 100.0 - percent).abs() < 0.01, "{count}: {sure}");
        }
        assert!(outside(4).1 < CONFIDENCE);
    }

    #[test]
    fn a_cost_is_nothing_only_if_all_of_its_interval_is() {
        let even: Vec<f64> = (0..12).map(|pair| 0.97 + 0.005 * f64::from(pair)).collect();
        assert!(Cost::of(even.clone()).is_nothing());
        let dear: Vec<f64> = even.iter().map(|ratio| ratio + 0.1).collect();
        assert!(!Cost::of(dear).is_nothing());
        // Too few pairs prove nothing.
        assert!(!Cost::of(vec![1.0; 4]).is_nothing());
        assert!((Cost::of(even).median - 0.9975).abs() < 1e-9);
    }
}
