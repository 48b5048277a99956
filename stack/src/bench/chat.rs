//! What `chat` costs and bears: memory of idle connections, fan-out to one room, delay at half of
//! its saturation, and what one stuck consumer changes. The same clients measure nginx's nchan
//! module (Debian packages nginx-light and libnginx-mod-nchan) in turn.
//!
//! Fan-out counts messages that consumers got in a second, the thing both services exist for. Ours
//! puts the messages of one tick into one frame, which is its protocol and its default; nchan has
//! no such thing, one message is one frame. So `fanout_ratio` compares both as they come, and
//! `fanout_one_message_a_frame` says what is left of it when ours has to do without.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use self::load::{Load, Pace};
use self::target::{Kind, Target};

mod load;
mod stuck;
mod subscriber;
mod target;

/// Arguments of `weir-stack bench chat`; the defaults are the published conditions.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Idle connections whose memory is measured
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Consumers of the one room
    #[arg(long, default_value_t = 1000)]
    consumers: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds, ours and the baseline in turn; medians are reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 100)]
    text_bytes: usize,
    /// Messages under way at saturation
    #[arg(long, default_value_t = 1024)]
    window: u64,
    /// The folder of nginx's modules
    #[arg(long, default_value = "/usr/lib/nginx/modules")]
    nginx_modules: PathBuf,
    /// Leave one out: `memory`, `nchan`, `single`, `delay` or `stuck`
    #[arg(long)]
    skip: Vec<String>,
}

/// What one measurement of a fan-out gave.
struct Fanout {
    deliveries_per_s: f64,
    deliveries_per_cpu_s: f64,
    messages_per_s: f64,
    lost: u64,
    delay_ns: Histogram<u64>,
}

/// Runs all measurements and prints them.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    crate::chat::server::raise_file_limit(args.connections.max(args.consumers))?;
    let wanted = |what: &str| !args.skip.iter().any(|skip| skip == what);
    let mut report = json!({ "consumers": args.consumers, "text_bytes": args.text_bytes, "seconds": args.seconds });
    let mut put = |key: &str, value: Value| {
        eprintln!("{key}: {value}");
        report[key] = value;
    };
    if wanted("memory") {
        put("memory", memory(&args, Kind::Chat).await?);
    }
    let nchan = wanted("nchan") && target::nchan_is_there(&args.nginx_modules);
    if nchan && wanted("memory") {
        put("memory_nchan", memory(&args, Kind::Nchan).await?);
    }
    let rounds = Rounds::measure(&args, nchan, wanted("single")).await?;
    for (key, value) in rounds.report() {
        put(key, value);
    }
    let half = median(&rounds.ours, |fanout| fanout.deliveries_per_s) / args.consumers as f64 / 2.0;
    if wanted("delay") {
        let delay = fanout(&args, Kind::Chat, Pace::Rate(half)).await?;
        put("half_saturation", summary(&[delay]));
    }
    if wanted("stuck") {
        put("one_stuck", stuck::measure(&args, half).await?);
    }
    println!("{report}");
    Ok(ExitCode::SUCCESS)
}

/// Fan-outs at saturation, in turn; empty what was not asked for.
#[derive(Default)]
struct Rounds {
    ours: Vec<Fanout>,
    nchan: Vec<Fanout>,
    single: Vec<Fanout>,
}

impl Rounds {
    async fn measure(args: &Args, nchan: bool, single: bool) -> Result<Self> {
        let mut rounds = Self::default();
        let pace = Pace::Saturate(args.window);
        for _ in 0..args.rounds.max(1) {
            rounds.ours.push(fanout(args, Kind::Chat, pace).await?);
            if nchan {
                rounds.nchan.push(fanout(args, Kind::Nchan, pace).await?);
            }
            if single {
                rounds.single.push(fanout(args, Kind::Single, pace).await?);
            }
        }
        Ok(rounds)
    }

    /// The figures, each under its key.
    fn report(&self) -> Vec<(&'static str, Value)> {
        let Self {
            ours,
            nchan,
            single,
        } = self;
        let ratio = |one: &[Fanout], of: fn(&Fanout) -> f64| {
            Value::from(median(one, of) / median(nchan, of))
        };
        let mut all = vec![("fanout", summary(ours))];
        if !nchan.is_empty() {
            all.push(("fanout_nchan", summary(nchan)));
            all.push(("fanout_ratio", ratio(ours, |one| one.deliveries_per_s)));
            let cpu = ratio(ours, |one| one.deliveries_per_cpu_s);
            all.push(("fanout_cpu_ratio", cpu));
        }
        if !single.is_empty() {
            all.push(("fanout_one_message_a_frame", summary(single)));
        }
        if !single.is_empty() && !nchan.is_empty() {
            let ratio = ratio(single, |one| one.deliveries_per_s);
            all.push(("fanout_one_message_a_frame_ratio", ratio));
        }
        all
    }
}

/// Memory of a server with idle connections, before and after each got one message.
async fn memory(args: &Args, kind: Kind) -> Result<Value> {
    let target = Target::start(kind, args)?;
    let before = target.rss_bytes()?;
    let start = Instant::now();
    let load = Load::connect(&target, args.connections, args.text_bytes).await?;
    let connected = start.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = target.rss_bytes()?;
    load.publish(Pace::Rate(1.0), Duration::from_secs(3))
        .await?;
    let used = target.rss_bytes()?;
    ensure!(load.delivered() > 0, "no connection got anything");
    let each = |rss: u64| rss.saturating_sub(before) as f64 / args.connections as f64;
    Ok(json!({
        "connections": args.connections,
        "connects_per_s": args.connections as f64 / connected.as_secs_f64(),
        "rss_before_bytes": before,
        "rss_idle_bytes": idle,
        "rss_per_idle_connection_bytes": each(idle),
        "rss_per_used_connection_bytes": each(used),
        "rss_total_per_connection_bytes": used as f64 / args.connections as f64,
    }))
}

/// One fan-out of messages to all consumers of one room.
async fn fanout(args: &Args, kind: Kind, pace: Pace) -> Result<Fanout> {
    let target = Target::start(kind, args)?;
    let load = Load::connect(&target, args.consumers, args.text_bytes).await?;
    // What the first second allocates and learns does not count.
    load.publish(pace, Duration::from_secs(1)).await?;
    load.settle().await;
    load.shared.reset();
    let (cpu, start, lost) = (target.cpu()?, Instant::now(), target.lost().await?);
    let messages = load
        .publish(pace, Duration::from_secs(args.seconds))
        .await?;
    let (seconds, delivered, cpu) = (
        start.elapsed().as_secs_f64(),
        load.delivered(),
        target.cpu()?.saturating_sub(cpu),
    );
    load.settle().await;
    let lost = target.lost().await?.saturating_sub(lost);
    ensure!(
        !load.shared.failed.load(Ordering::Relaxed),
        "a connection failed during the measurement"
    );
    let delay_ns = load.finish().await.context("no delay was measured")?;
    // Revisions tell consumers how many items came; those that never will are among them.
    let delivered = delivered.saturating_sub(lost);
    Ok(Fanout {
        deliveries_per_s: delivered as f64 / seconds,
        deliveries_per_cpu_s: delivered as f64 / cpu.as_secs_f64().max(0.01),
        messages_per_s: messages as f64 / seconds,
        lost,
        delay_ns,
    })
}

fn summary(fanouts: &[Fanout]) -> Value {
    let mut delays = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).ok();
    for fanout in fanouts {
        if let Some(delays) = &mut delays {
            // Same bounds: adding cannot fail.
            let _ = delays.add(&fanout.delay_ns);
        }
    }
    let ms = |quantile| {
        delays.as_ref().map_or(0.0, |delays| {
            delays.value_at_quantile(quantile) as f64 / 1e6
        })
    };
    json!({
        "deliveries_per_s": median(fanouts, |fanout| fanout.deliveries_per_s),
        "deliveries_per_s_rounds": fanouts.iter().map(|fanout| fanout.deliveries_per_s.round()).collect::<Vec<_>>(),
        "deliveries_per_server_cpu_s": median(fanouts, |fanout| fanout.deliveries_per_cpu_s),
        "messages_per_s": median(fanouts, |fanout| fanout.messages_per_s),
        "lost_items": fanouts.iter().map(|fanout| fanout.lost).sum::<u64>(),
        "delay_ms": { "p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999), "max": ms(1.0) },
        "delays": delays.as_ref().map_or(0, Histogram::len),
    })
}

fn median(fanouts: &[Fanout], of: impl Fn(&Fanout) -> f64) -> f64 {
    let mut values: Vec<f64> = fanouts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the clients of one load share.
pub(crate) type Shared = Arc<load::Counts>;
