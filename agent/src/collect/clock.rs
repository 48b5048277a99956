//! Length of the kernel's tick, in which TCP keeps its sender clocks.

/// Ticks per second that kernels are built with (kernel/Kconfig.hz).
const RATES: [u64; 4] = [100, 250, 300, 1000];
const NS_PER_S: f64 = 1e9;

/// Finds the tick rate from a monotonic clock and a tick count read together.
#[derive(Debug, Default)]
pub(super) struct Tick {
    first: Option<(u64, u64)>,
    rate: Option<u64>,
}

impl Tick {
    /// Takes a reading; cheap once the rate is known.
    pub(super) fn learn(&mut self, at_ns: u64, ticks: u64) {
        if self.rate.is_some() || ticks == 0 {
            return;
        }
        let first = *self.first.get_or_insert((at_ns, ticks));
        self.rate = from_start(at_ns, ticks).or_else(|| from_two(first, (at_ns, ticks)));
    }

    /// Length of a tick. 4 ms (Debian's, and most distributions') while it is not known.
    pub(super) fn seconds(&self) -> f64 {
        1.0 / self.rate.unwrap_or(250) as f64
    }
}

/// The kernel starts its count 300 s before the wrap of the lower half (INITIAL_JIFFIES,
/// include/linux/jiffies.h), so one reading tells the rate, unless the machine has been up for
/// about that long.
fn from_start(at_ns: u64, ticks: u64) -> Option<u64> {
    let since = at_ns as f64 / NS_PER_S - 300.0;
    if since.abs() < 20.0 {
        return None;
    }
    let rate = (ticks as f64 - 4_294_967_296.0) / since;
    nearest(rate, 0.1)
}

/// Two readings tell it if enough ticks lie between them.
fn from_two(first: (u64, u64), second: (u64, u64)) -> Option<u64> {
    let ticks = second.1.checked_sub(first.1)?;
    let elapsed = second.0.checked_sub(first.0)? as f64 / NS_PER_S;
    if ticks < 40 {
        return None;
    }
    nearest(ticks as f64 / elapsed, 0.08)
}

fn nearest(rate: f64, tolerance: f64) -> Option<u64> {
    RATES
        .into_iter()
        .find(|known| (rate / *known as f64 - 1.0).abs() < tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(rate: u64, up_s: u64) -> (u64, u64) {
        (
            up_s * 1_000_000_000,
            (1_u64 << 32) - 300 * rate + up_s * rate,
        )
    }

    #[test]
    fn one_reading_tells_the_rate() {
        for rate in RATES {
            for up_s in [1, 60, 400, 1_000_000] {
                let (at_ns, ticks) = reading(rate, up_s);
                let mut tick = Tick::default();
                tick.learn(at_ns, ticks);
                assert_eq!(tick.rate, Some(rate), "up {up_s} s");
            }
        }
    }

    #[test]
    fn five_minutes_after_boot_two_readings_do() {
        for rate in RATES {
            let mut tick = Tick::default();
            let (at_ns, ticks) = reading(rate, 300);
            tick.learn(at_ns, ticks);
            assert_eq!(tick.rate, None);
            tick.learn(at_ns + 500_000_000, ticks + rate / 2);
            assert_eq!(tick.rate, Some(rate));
        }
    }
}
