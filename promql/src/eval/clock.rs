//! Parts of dates in UTC, of each value or of the evaluation's time.

use super::{Eval, Evaluated};
use crate::ast::{Expr, Span};
use crate::labels::Labels;
use crate::value::Sample;

const DAY: i64 = 86_400;

/// A date of the proleptic Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

pub(super) fn find(name: &str) -> Option<fn(i64) -> f64> {
    Some(match name {
        "minute" => |at| (at.rem_euclid(DAY) / 60 % 60) as f64,
        "hour" => |at| (at.rem_euclid(DAY) / 3600) as f64,
        // 1970 began on a Thursday.
        "day_of_week" => |at| (at.div_euclid(DAY) + 4).rem_euclid(7) as f64,
        "day_of_month" => |at| date(at).day as f64,
        "day_of_year" => |at| {
            let date = date(at);
            (at.div_euclid(DAY) - days(date.year, 1, 1) + 1) as f64
        },
        "days_in_month" => |at| {
            let date = date(at);
            let (year, month) = if date.month == 12 {
                (date.year + 1, 1)
            } else {
                (date.year, date.month + 1)
            };
            (days(year, month, 1) - days(date.year, date.month, 1)) as f64
        },
        "month" => |at| date(at).month as f64,
        "year" => |at| date(at).year as f64,
        _ => return None,
    })
}

/// Days since 1970 to a date (H. Hinnant, "chrono-compatible low-level date
/// algorithms", civil_from_days).
fn date(at: i64) -> Date {
    let shifted = at.div_euclid(DAY) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day,
    }
}

/// A date to days since 1970 (same source, days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Eval<'_> {
    pub(super) fn clock(
        &mut self,
        span: Span,
        part: fn(i64) -> f64,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        // Far outside of any calendar the date no longer fits its own figures.
        let bounded = |seconds: f64| part((seconds as i64).clamp(-(1 << 55), 1 << 55));
        if args.is_empty() {
            let value = bounded(at_ms.div_euclid(1000) as f64);
            return Ok(vec![Sample::new(Labels::empty(), value)]);
        }
        self.map_floats(span, args, at_ms, bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, wanted) in [
            (0, [1970.0, 1.0, 1.0, 4.0, 1.0, 31.0]),
            (951_782_400, [2000.0, 2.0, 29.0, 2.0, 60.0, 29.0]),
            (-1, [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0]),
            (4_107_542_400, [2100.0, 3.0, 1.0, 1.0, 60.0, 31.0]),
        ] {
            let names = [
                "year",
                "month",
                "day_of_month",
                "day_of_week",
                "day_of_year",
                "days_in_month",
            ];
            let have = names.map(|name| find(name).unwrap()(at));
            assert_eq!(have, wanted, "{at}");
        }
    }
}
