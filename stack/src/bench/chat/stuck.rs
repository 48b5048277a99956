//! What one consumer that never reads costs the others: windows with and without it, in pairs on
//! one server and one crowd, so that what the machine does besides falls on both alike.

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

/// One window's figures.
struct Window {
    /// At saturation.
    deliveries_per_s: f64,
    /// At half of it: the server's processor time for a delivery, in nanoseconds.
    cpu_ns: f64,
    /// At half of it, in nanoseconds.
    p99_ns: f64,
}

/// Measures pairs at `half` (messages a second) and at saturation.
pub(super) async fn measure(args: &Args, half: f64) -> Result<Value> {
    let target = Target::start(Kind::Chat, args)?;
    let mut load = Load::connect(&target, args.consumers, args.text_bytes).await?;
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let mut windows = [None, None];
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for stuck in order {
            load.set_stuck(&target, stuck).await?;
            windows[stuck] = Some(window(args, &target, &load, half).await?);
        }
        if let [Some(free), Some(stuck)] = windows {
            ratios[0].push(stuck.deliveries_per_s / free.deliveries_per_s);
            ratios[1].push(stuck.cpu_ns / free.cpu_ns);
            ratios[2].push(stuck.p99_ns / free.p99_ns);
            without.push(free.p99_ns / 1e6);
            with.push(stuck.p99_ns / 1e6);
        }
    }
    let lost = target.lost().await?;
    ensure!(
        lost > 0,
        "the stuck consumer lost nothing: it was not stuck"
    );
    load.finish().await.context("no delay was measured")?;
    let [deliveries, cpu, p99] = ratios.map(|mut ratios| quartiles(&mut ratios));
    Ok(json!({
        "pairs": PAIRS,
        "with_to_without": {
            "deliveries_per_s_at_saturation": deliveries,
            "server_cpu_per_delivery_at_half": cpu,
            "delay_p99_at_half": p99,
        },
        "delay_p99_ms_at_half": { "without": quartiles(&mut without), "with": quartiles(&mut with) },
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
    let (delivered, p99) = (
        load.delivered(),
        load.shared.delays().value_at_quantile(0.99),
    );
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
    })
}

fn quartiles(values: &mut [f64]) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values.get((values.len() - 1) * quarter / 4).copied();
    json!({ "p25": at(1), "median": at(2), "p75": at(3) })
}
