//! Times and spans as Go prints them, and the methods that templates call on them.

use super::value::Value;

const SECOND_NS: i64 = 1_000_000_000;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A time in UTC taken apart.
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    milli: u32,
    weekday: usize,
    yearday: i64,
}

impl Civil {
    /// From milliseconds since 1970, after Howard Hinnant's `civil_from_days`.
    fn at(at_ms: i64) -> Self {
        let days = at_ms.div_euclid(86_400_000);
        let in_day = at_ms.rem_euclid(86_400_000) as u32;
        let (year, month, day) = date(days);
        Self {
            year,
            month,
            day,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1_000 % 60,
            milli: in_day % 1_000,
            weekday: (days + 4).rem_euclid(7) as usize,
            yearday: days - first_day(year) + 1,
        }
    }
}

fn date(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1970 to the first of January.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + (before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400))
        - 477
}

/// `time.Time.String`, in UTC.
pub(super) fn shown(at_ms: i64) -> String {
    format(at_ms, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// `time.Time.Format`, in UTC.
pub(super) fn format(at_ms: i64, layout: &str) -> String {
    let civil = Civil::at(at_ms);
    let mut text = String::with_capacity(layout.len());
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        let length = match element(rest, &civil, &mut text) {
            Some(length) => length,
            None => {
                text.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    text
}

/// Writes the element that a layout starts with; its length in the layout.
fn element(layout: &str, civil: &Civil, text: &mut String) -> Option<usize> {
    let hour = (civil.hour + 11) % 12 + 1;
    let noon = civil.hour >= 12;
    let month = MONTHS[civil.month as usize - 1];
    let day = DAYS[civil.weekday];
    let shown = |part: &str| -> Option<String> {
        Some(match part {
            "January" => month.to_owned(),
            "Jan" => month[..3].to_owned(),
            "Monday" => day.to_owned(),
            "Mon" => day[..3].to_owned(),
            "MST" => "UTC".to_owned(),
            "2006" => format!("{:04}", civil.year),
            "002" => format!("{:03}", civil.yearday),
            "-07:00:00" | "-07:00" => part.replace("-07", "+00"),
            "-070000" => "+000000".to_owned(),
            "-0700" => "+0000".to_owned(),
            "-07" => "+00".to_owned(),
            "Z07:00" | "Z0700" | "Z070000" | "Z07" | "Z07:00:00" => "Z".to_owned(),
            "01" => format!("{:02}", civil.month),
            "02" => format!("{:02}", civil.day),
            "03" => format!("{hour:02}"),
            "04" => format!("{:02}", civil.minute),
            "05" => format!("{:02}", civil.second),
            "06" => format!("{:02}", civil.year.rem_euclid(100)),
            "15" => format!("{:02}", civil.hour),
            "PM" => if noon { "PM" } else { "AM" }.to_owned(),
            "pm" => if noon { "pm" } else { "am" }.to_owned(),
            "_2" => format!("{:2}", civil.day),
            "1" => civil.month.to_string(),
            "2" => civil.day.to_string(),
            "3" => hour.to_string(),
            "4" => civil.minute.to_string(),
            "5" => civil.second.to_string(),
            _ => return None,
        })
    };
    if let Some(length) = fraction(layout, civil, text) {
        return Some(length);
    }
    // Longest first: "January" before "Jan", "01" before "1".
    let length = [9, 8, 7, 6, 5, 4, 3, 2, 1].into_iter().find(|length| {
        layout.get(..*length).and_then(shown).is_some_and(|part| {
            text.push_str(&part);
            true
        })
    })?;
    Some(length)
}

/// `.000` keeps zeros, `.999` does not.
fn fraction(layout: &str, civil: &Civil, text: &mut String) -> Option<usize> {
    let digits = layout.strip_prefix(['.', ','])?;
    let mark = digits.chars().next().filter(|c| *c == '0' || *c == '9')?;
    let length = digits.len() - digits.trim_start_matches(mark).len();
    if digits[length..].starts_with(|c: char| c.is_ascii_digit()) || length > 9 {
        return None;
    }
    let all = format!("{:03}000000", civil.milli);
    let shown = &all[..length];
    let shown = if mark == '9' {
        shown.trim_end_matches('0')
    } else {
        shown
    };
    if !shown.is_empty() {
        text.push_str(&layout[..1]);
        text.push_str(shown);
    }
    Some(length + 1)
}

/// `time.Duration.String`.
pub(super) fn duration(span_ns: i64) -> String {
    if span_ns == 0 {
        return "0s".to_owned();
    }
    let sign = if span_ns < 0 { "-" } else { "" };
    let all = span_ns.unsigned_abs();
    let point = |whole: u64, part: u64, digits: usize, unit: &str| {
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        let mark = if part.is_empty() { "" } else { "." };
        format!("{whole}{mark}{part}{unit}")
    };
    let text = if all < 1_000 {
        format!("{all}ns")
    } else if all < 1_000_000 {
        point(all / 1_000, all % 1_000, 3, "µs")
    } else if all < SECOND_NS as u64 {
        point(all / 1_000_000, all % 1_000_000, 6, "ms")
    } else {
        let seconds = all / SECOND_NS as u64;
        let last = point(seconds % 60, all % SECOND_NS as u64, 9, "s");
        match (seconds / 3_600, seconds / 60 % 60) {
            (0, 0) => last,
            (0, minutes) => format!("{minutes}m{last}"),
            (hours, minutes) => format!("{hours}h{minutes}m{last}"),
        }
    };
    format!("{sign}{text}")
}

/// Calls a method of a time; none if it has none of that name.
pub(super) fn time_method(at_ms: i64, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let civil = Civil::at(at_ms);
    let at_ns = || at_ms.saturating_mul(1_000_000);
    let value = match (name, args) {
        ("String", []) => Value::from(shown(at_ms)),
        ("Format", [Value::Text(layout)]) => Value::from(format(at_ms, layout)),
        ("Unix", []) => Value::Int(at_ms.div_euclid(1_000)),
        ("UnixMilli", []) => Value::Int(at_ms),
        ("UnixMicro", []) => Value::Int(at_ms.saturating_mul(1_000)),
        ("UnixNano", []) => Value::Int(at_ns()),
        ("Year", []) => Value::Int(civil.year),
        ("Month", []) => Value::from(MONTHS[civil.month as usize - 1]),
        ("Day", []) => Value::Int(i64::from(civil.day)),
        ("Hour", []) => Value::Int(i64::from(civil.hour)),
        ("Minute", []) => Value::Int(i64::from(civil.minute)),
        ("Second", []) => Value::Int(i64::from(civil.second)),
        ("Nanosecond", []) => Value::Int(i64::from(civil.milli) * 1_000_000),
        ("Weekday", []) => Value::from(DAYS[civil.weekday]),
        ("YearDay", []) => Value::Int(civil.yearday),
        ("UTC", []) => Value::Time(at_ms),
        ("IsZero", []) => Value::Bool(false),
        ("Add", [Value::Duration(span) | Value::Int(span)]) => {
            Value::Time(at_ms.saturating_add(span / 1_000_000))
        }
        ("Truncate", [Value::Duration(span) | Value::Int(span)]) if *span >= 1_000_000 => {
            Value::Time(at_ms - at_ms.rem_euclid(span / 1_000_000))
        }
        ("Sub", [Value::Time(other)]) => {
            Value::Duration(at_ms.saturating_sub(*other).saturating_mul(1_000_000))
        }
        ("Before", [Value::Time(other)]) => Value::Bool(at_ms < *other),
        ("After", [Value::Time(other)]) => Value::Bool(at_ms > *other),
        ("Equal", [Value::Time(other)]) => Value::Bool(at_ms == *other),
        _ => return wrong(name, args, TIME_METHODS),
    };
    Some(Ok(value))
}

const TIME_METHODS: &[&str] = &[
    "String",
    "Format",
    "Unix",
    "UnixMilli",
    "UnixMicro",
    "UnixNano",
    "Year",
    "Month",
    "Day",
    "Hour",
    "Minute",
    "Second",
    "Nanosecond",
    "Weekday",
    "YearDay",
    "UTC",
    "IsZero",
    "Add",
    "Truncate",
    "Sub",
    "Before",
    "After",
    "Equal",
];

/// Calls a method of a span; none if it has none of that name.
pub(super) fn span_method(
    span_ns: i64,
    name: &str,
    args: &[Value],
) -> Option<Result<Value, String>> {
    let value = match (name, args) {
        ("String", []) => Value::from(duration(span_ns)),
        ("Hours", []) => Value::Float(span_ns as f64 / 3_600e9),
        ("Minutes", []) => Value::Float(span_ns as f64 / 60e9),
        ("Seconds", []) => Value::Float(span_ns as f64 / 1e9),
        ("Milliseconds", []) => Value::Int(span_ns / 1_000_000),
        ("Microseconds", []) => Value::Int(span_ns / 1_000),
        ("Nanoseconds", []) => Value::Int(span_ns),
        ("Abs", []) => Value::Duration(span_ns.saturating_abs()),
        ("Truncate", [Value::Duration(unit) | Value::Int(unit)]) if *unit > 0 => {
            Value::Duration(span_ns - span_ns % unit)
        }
        ("Round", [Value::Duration(unit) | Value::Int(unit)]) if *unit > 0 => {
            let half = (unit / 2).saturating_mul(span_ns.signum());
            let moved = span_ns.saturating_add(half);
            Value::Duration(moved - moved % unit)
        }
        _ => return wrong(name, args, SPAN_METHODS),
    };
    Some(Ok(value))
}

const SPAN_METHODS: &[&str] = &[
    "String",
    "Hours",
    "Minutes",
    "Seconds",
    "Milliseconds",
    "Microseconds",
    "Nanoseconds",
    "Abs",
    "Truncate",
    "Round",
];

fn wrong(name: &str, args: &[Value], known: &[&str]) -> Option<Result<Value, String>> {
    known.contains(&name).then(|| {
        let types: Vec<_> = args.iter().map(Value::type_name).collect();
        Err(format!("wrong args for {name}: got ({})", types.join(", ")))
    })
}
