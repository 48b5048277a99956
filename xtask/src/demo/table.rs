//! The live table, on stderr: redrawn in a terminal, else one line a service.

use std::fmt::Write as _;

use super::figure::{Figures, Run};

/// A screen's worth of services.
const ROWS: usize = 12;

/// Shows the present figures.
pub(super) fn show(run: &Run, url: &str, redraw: bool) {
    let figures = run.live();
    let text = if redraw {
        screen(run, &figures, url)
    } else {
        lines(run, &figures)
    };
    eprint!("{text}");
}

fn screen(run: &Run, figures: &[Figures], url: &str) -> String {
    let (cpu, memory) = run.cost();
    // Home, and clear each line's rest and the screen below: no flicker.
    let mut text = String::from("\x1b[H");
    let mut line = |content: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{content}\x1b[K");
    };
    line(&format!(
        "Weir watches nginx and its clients · {} s · {url}",
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
    text
}

/// Seconds in the unit in which they are read most easily.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
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
}
