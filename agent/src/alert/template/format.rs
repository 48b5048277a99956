//! `fmt.Sprintf` and `fmt.Sprint` for the values of templates.

use super::number;
use super::value::Value;

/// Widest field that a format may ask for; what is over it is cut.
const MAX_WIDTH: usize = 4_096;

/// `fmt.Sprint`: a space between operands when neither is a text.
pub(super) fn sprint(args: &[Value]) -> String {
    let mut text = String::new();
    let mut after_text = true;
    for arg in args {
        let is_text = matches!(arg, Value::Text(_));
        if !is_text && !after_text {
            text.push(' ');
        }
        text.push_str(&arg.shown());
        after_text = is_text;
    }
    text
}

/// `fmt.Sprintln`.
pub(super) fn sprintln(args: &[Value]) -> String {
    let shown: Vec<_> = args.iter().map(Value::shown).collect();
    shown.join(" ") + "\n"
}

/// One verb with what stands before it.
#[derive(Clone, Copy, Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut text = String::with_capacity(format.len());
    let mut rest = format;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (spec, after) = parse(rest, args, &mut next);
        rest = after;
        let Some(verb) = rest.chars().next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
        } else if let Some(arg) = args.get(next) {
            next += 1;
            text.push_str(&pad(one(arg, verb, &spec), &spec));
        } else {
            text.push_str(&format!("%!{verb}(MISSING)"));
        }
    }
    text.push_str(rest);
    if next < args.len() {
        let extra = args[next..].iter().map(typed);
        let extra: Vec<_> = extra.collect();
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

fn parse<'a>(format: &'a str, args: &[Value], next: &mut usize) -> (Spec, &'a str) {
    let mut spec = Spec::default();
    let mut rest = format;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '+' => spec.plus = true,
            '-' => spec.minus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            '0' => spec.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    (spec.width, rest) = size(rest, args, next);
    if let Some(after) = rest.strip_prefix('.') {
        (spec.precision, rest) = size(after, args, next);
        spec.precision = spec.precision.or(Some(0));
    }
    (spec, rest)
}

/// A figure, or the next argument for `*`.
fn size<'a>(format: &'a str, args: &[Value], next: &mut usize) -> (Option<usize>, &'a str) {
    if let Some(after) = format.strip_prefix('*') {
        let wanted = args.get(*next);
        *next += 1;
        let width = match wanted {
            Some(Value::Int(width)) => usize::try_from(*width).ok(),
            _ => None,
        };
        return (width.map(|width| width.min(MAX_WIDTH)), after);
    }
    let length = format
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(format.len());
    let digits = &format[..length];
    let width = (!digits.is_empty()).then(|| digits.parse().unwrap_or(MAX_WIDTH).min(MAX_WIDTH));
    (width, &format[length..])
}

fn one(arg: &Value, verb: char, spec: &Spec) -> String {
    if verb == 'T' {
        return arg.type_name().to_owned();
    }
    let shown = match arg {
        Value::Nil if verb == 'v' => Some("<nil>".to_owned()),
        Value::Bool(value) if verb == 't' || verb == 'v' => Some(value.to_string()),
        Value::Int(value) => integer(i128::from(*value), verb, spec),
        Value::Uint(value) => integer(i128::from(*value), verb, spec),
        Value::Float(value) => float(*value, verb, spec),
        Value::Text(value) => text(value, verb, spec),
        Value::Labels(_)
        | Value::Map(_)
        | Value::Sample(_)
        | Value::Samples(_)
        | Value::Data(_)
            if verb == 'v' || verb == 's' =>
        {
            Some(arg.shown())
        }
        // These know how to print themselves.
        Value::Time(_) | Value::Duration(_) | Value::Histogram(_) => text(&arg.shown(), verb, spec),
        _ => None,
    };
    shown.unwrap_or_else(|| match arg {
        Value::Nil => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({})", typed(arg)),
    })
}

fn typed(arg: &Value) -> String {
    match arg {
        Value::Nil => "<nil>".to_owned(),
        _ => format!("{}={}", arg.type_name(), arg.shown()),
    }
}

fn text(value: &str, verb: char, spec: &Spec) -> Option<String> {
    let cut = || -> String {
        let most = spec.precision.unwrap_or(usize::MAX);
        value.chars().take(most).collect()
    };
    Some(match verb {
        'v' if spec.sharp => quote(value),
        's' | 'v' => cut(),
        'q' if spec.sharp && !value.contains('`') => format!("`{}`", cut()),
        'q' => quote(&cut()),
        'x' => cut().bytes().map(|byte| format!("{byte:02x}")).collect(),
        'X' => cut().bytes().map(|byte| format!("{byte:02X}")).collect(),
        _ => return None,
    })
}

/// `strconv.Quote`.
pub(super) fn quote(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\x07' => text.push_str("\\a"),
            '\x08' => text.push_str("\\b"),
            '\x0b' => text.push_str("\\v"),
            '\x0c' => text.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                text.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn signed(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn integer(value: i128, verb: char, spec: &Spec) -> Option<String> {
    let all = value.unsigned_abs();
    let digits = match verb {
        'd' | 'v' => all.to_string(),
        'b' => format!("{all:b}"),
        'o' => format!("{}{all:o}", if spec.sharp { "0" } else { "" }),
        'O' => format!("0o{all:o}"),
        'x' => format!("{}{all:x}", if spec.sharp { "0x" } else { "" }),
        'X' => format!("{}{all:X}", if spec.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(value)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}');
            return Some(match verb {
                'c' => c.to_string(),
                'q' => format!("'{c}'"),
                _ => format!("U+{all:04X}"),
            });
        }
        _ => return None,
    };
    let fill = match (spec.precision, spec.width) {
        (Some(least), _) => least,
        (None, Some(width)) if spec.zero && !spec.minus => {
            width.saturating_sub(signed(value < 0, spec).len())
        }
        _ => 0,
    };
    Some(format!("{}{digits:0>fill$}", signed(value < 0, spec)))
}

fn float(value: f64, verb: char, spec: &Spec) -> Option<String> {
    let lower = verb.to_ascii_lowercase();
    let shown = match (lower, spec.precision) {
        ('v' | 'g', None) => number::shortest(value),
        ('v' | 'g', Some(precision)) => number::general(value, precision),
        ('e', precision) => number::exponent(value, precision.unwrap_or(6)),
        ('f', precision) => number::fixed(value, precision.unwrap_or(6)),
        _ => return None,
    };
    if verb == 'V' {
        return None;
    }
    let (negative, digits) = match shown.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, shown.as_str()),
    };
    let special = digits.ends_with(['f', 'N']);
    let bare = if special && !spec.plus {
        digits
    } else {
        digits.trim_start_matches('+')
    };
    let sign = if special && !spec.plus {
        if negative { "-" } else { "" }
    } else {
        signed(negative, spec)
    };
    let digits = if verb.is_ascii_uppercase() {
        bare.to_uppercase()
    } else {
        bare.to_owned()
    };
    let fill = match spec.width {
        Some(width) if spec.zero && !spec.minus && !special => width.saturating_sub(sign.len()),
        _ => 0,
    };
    Some(format!("{sign}{digits:0>fill$}"))
}

fn pad(text: String, spec: &Spec) -> String {
    let length = text.chars().count();
    let missing = spec.width.unwrap_or(0).saturating_sub(length);
    if missing == 0 {
        text
    } else if spec.minus {
        text + &" ".repeat(missing)
    } else {
        " ".repeat(missing) + &text
    }
}
