//! Go's literals: quoted texts, characters and numbers (`strconv.Unquote`, `strconv.ParseInt` with
//! base 0, `strconv.ParseFloat`).

use super::tree::Number;

/// The text in double, single or back quotes; none if an escape is wrong.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mark = text.chars().next()?;
    let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
    if mark == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], mark, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    // A byte escape may leave what is no UTF-8; annotations are UTF-8.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes what an escape means; gives back what is after it.
fn escape<'a>(rest: &'a str, mark: char, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let after = &rest[kind.len_utf8()..];
    let simple = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        c if c == mark => mark as u8,
        'x' => {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return Some(after);
        }
        'u' | 'U' => {
            let (digits, after) = after.split_at_checked(if kind == 'u' { 4 } else { 8 })?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(after);
        }
        '0'..='7' => {
            let (digits, after) = rest.split_at_checked(3)?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(after);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(after)
}

/// A number, or the code of a character.
pub(super) fn number(text: &str) -> Option<Number> {
    if text.starts_with('\'') {
        let inner = unquote(text)?;
        let mut chars = inner.chars();
        let c = chars.next()?;
        return chars
            .next()
            .is_none()
            .then(|| Number::Int(i64::from(u32::from(c))));
    }
    let lower = text.to_ascii_lowercase();
    let is_hex = lower.trim_start_matches(['+', '-']).starts_with("0x");
    let has_point = if is_hex {
        lower.contains(['.', 'p'])
    } else {
        lower.contains(['.', 'e'])
    };
    if has_point {
        let digits = lower.replace('_', "");
        let value = if is_hex {
            hex_float(&digits)
        } else {
            digits.parse().ok()
        };
        return value
            .filter(|value: &f64| value.is_finite())
            .map(Number::Float);
    }
    integer(&lower)
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let value = u64::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    if negative {
        return Some(Number::Int(0i64.checked_sub_unsigned(value)?));
    }
    Some(i64::try_from(value).map_or(Number::TooLarge, Number::Int))
}

/// `0x1.8p4`.
fn hex_float(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.strip_prefix("0x")?.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()? * 4)?;
    Some(sign * value * 2f64.powi(shift))
}
