//! The live table, on stderr: redrawn in a terminal, else one line a service.

use std::fmt::Write as _;

use super::{
    crowd::{Experience, median_and_most},
    figure::{Figures, Run},
};

/// A screen's worth of services.
const ROWS: usize = 12;

/// Shows the present figures.
pub(super) fn show(run: &Run, title: &str, url: &str, redraw: bool) {
    let figures = run.live();
    let text = if redraw {
        screen(run, &figures, title, url)
    } else {
        lines(run, &figures)
    };
    eprint!("{text}");
}

fn screen(run: &Run, figures: &[Figures], title: &str, url: &str) -> String {
    let (cpu, memory) = run.cost();
    // Home, and clear each line's rest and the screen below: no flicker.
    let mut text = String::from("\x1b[H");
    let mut line = |content: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{content}\x1b[K");
    };
    line(&format!(
        "Weir watches {title} · {} s · {url}",
        run.age().as_secs()
    ));
    line(&format!(
        "the agent itself: {:.2} % of a core, {:.1} MB",
        cpu * 100.0,
        memory / 1e6
    ));
    line("");
    HEAD.iter().for_each(|head| line(head));
    for figures in figures
        .iter()
        .filter(|figures| figures.connections_open + figures.sends > 0.0)
        .take(ROWS)
    {
        line(&row(figures));
    }
    line("");
    if let Some((before, now, seconds)) = run.experience() {
        line("What their users went through, as they wrote it down themselves:");
        users(before, now, seconds)
            .iter()
            .for_each(|text| line(text));
        line("");
    }
    line(
        "Last 5 s; quantiles from classic buckets (powers of two). Ctrl-C ends it and leaves nothing behind.",
    );
    text.push_str("\x1b[J");
    text
}

const HEAD: [&str; 2] = [
    "                 sends        send        delivery       rtt      retransmits in 5 s       connections",
    "service             /s    p50    p99     p50    p99     p50   rto fast  tlp  syn synack  open opened",
];

fn row(figures: &Figures) -> String {
    let kind = |kind: &str| figures.retransmits.get(kind).unwrap_or(&0.0);
    format!(
        "{:<14.14} {:>6.0} {:>6} {:>6}  {:>6} {:>6}  {:>6} {:>4} {:>4} {:>4} {:>4} {:>6}  {:>4} {:>6}",
        figures.service,
        figures.sends_per_second,
        time(figures.send_p50),
        time(figures.send_p99),
        time(figures.delivery_p50),
        time(figures.delivery_p99),
        time(figures.rtt_p50),
        kind("rto"),
        kind("fast"),
        kind("tlp"),
        kind("syn"),
        kind("synack"),
        figures.connections_open,
        figures.connections_opened,
    )
}

fn lines(run: &Run, figures: &[Figures]) -> String {
    let mut text = String::new();
    for figures in figures
        .iter()
        .filter(|figures| figures.sends > 0.0)
        .take(ROWS)
    {
        let _ = writeln!(
            text,
            "{:>4} s {}: {:.0} sends/s, send p50 {} p99 {}, delivery p50 {} p99 {}, rtt p50 {}, \
             retransmits {:.0}, open {}",
            run.age().as_secs(),
            figures.service,
            figures.sends_per_second,
            time(figures.send_p50),
            time(figures.send_p99),
            time(figures.delivery_p50),
            time(figures.delivery_p99),
            time(figures.rtt_p50),
            figures.retransmits.values().sum::<f64>(),
            figures.connections_open,
        );
    }
    if let Some((before, now, seconds)) = run.experience() {
        for line in users(before, now, seconds) {
            let _ = writeln!(text, "{:>4} s users: {line}", run.age().as_secs());
        }
    }
    text
}

/// What the users say of themselves: sums, and rates since some seconds ago.
fn users(before: &Experience, now: &Experience, seconds: f64) -> [String; 4] {
    let rate = |after: u64, before: u64| after.saturating_sub(before) as f64 / seconds;
    let startup = median_and_most(&now.startup_ms);
    let startup = |pick: fn((f64, f64)) -> f64| time(startup.map(|both| pick(both) / 1e3));
    let bits = 8.0 * rate(now.media_bytes, before.media_bytes) / now.watching.max(1) as f64;
    [
        format!(
            "players  {} watch, {} stalled now · {} stalls, {} in all · startup {} (worst {}) · \
             {} behind live · {:.1} Mbit/s each",
            now.watching,
            now.stalled,
            now.stalls,
            time(Some(now.stalled_ms / 1e3)),
            startup(|(median, _)| median),
            startup(|(_, most)| most),
            time(now.latency_s),
            bits / 1e6,
        ),
        format!(
            "chat     {} there · {:.0} said/s, {:.0} read/s · {} to be read (worst {}) · {} missed",
            now.chatting,
            rate(now.said, before.said),
            rate(now.messages.count, before.messages.count),
            time(now.messages.mean_since(&before.messages)),
            time(worst(now.messages.worst_ms)),
            now.missed,
        ),
        format!(
            "game     {} there · {:.0} snapshots/s · input to effect {} (worst {}) · {} gaps",
            now.playing,
            rate(now.snapshots.count, before.snapshots.count),
            time(now.snapshots.mean_since(&before.snapshots)),
            time(worst(now.snapshots.worst_ms)),
            now.gaps,
        ),
        format!(
            "         {} failures, {} cut off · wrong now: {}",
            now.failures,
            now.cut_off,
            wrong(now),
        ),
    ]
}

fn wrong(now: &Experience) -> String {
    let faults: Vec<&str> = now.faults_now.iter().map(String::as_str).collect();
    if faults.is_empty() {
        return "nothing".to_owned();
    }
    faults.join(", ")
}

fn worst(ms: f64) -> Option<f64> {
    (ms > 0.0).then_some(ms / 1e3)
}

/// Seconds in the unit in which they are read most easily.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(0.0) => "0s".to_owned(),
        Some(s) if s < 1e-3 => format!("{}us", figures_of(s * 1e6)),
        Some(s) if s < 1.0 => format!("{}ms", figures_of(s * 1e3)),
        Some(s) => format!("{}s", figures_of(s)),
    }
}

/// Two figures that count: buckets are not finer.
fn figures_of(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_its_unit() {
        assert_eq!(time(Some(0.000_012_3)), "12us");
        assert_eq!(time(Some(0.0456)), "46ms");
        assert_eq!(time(Some(2.0)), "2.0s");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn users_tell_sums_and_rates() {
        let before = Experience {
            said: 10,
            ..Experience::default()
        };
        let now = Experience {
            watching: 2,
            stalls: 3,
            stalled_ms: 4_500.0,
            startup_ms: vec![300.0, 900.0],
            media_bytes: 1_250_000,
            said: 30,
            faults_now: ["rate".to_owned()].into(),
            ..Experience::default()
        };
        let [players, chat, _, rest] = users(&before, &now, 5.0);
        assert!(
            players.contains("2 watch, 0 stalled now · 3 stalls, 4.5s in all")
                && players.contains("startup 900ms (worst 900ms)")
                && players.contains("1.0 Mbit/s each"),
            "{players}"
        );
        assert!(chat.contains("4 said/s"), "{chat}");
        assert!(rest.ends_with("wrong now: rate"), "{rest}");
    }
}
