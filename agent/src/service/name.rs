//! Makes what others named fit for a label.

const MAX_BYTES: usize = 128;

/// Printable UTF-8 of at most 128 bytes, `_` for what is not, `unknown` for nothing.
pub(super) fn clean(text: &[u8]) -> String {
    let mut clean = String::new();
    // Looking at more than can fit would let a long name cost time.
    let text = &text[..text.len().min(4 * MAX_BYTES)];
    for c in String::from_utf8_lossy(text).trim().chars() {
        let c = if is_printable(c) { c } else { '_' };
        if clean.len() + c.len_utf8() > MAX_BYTES {
            break;
        }
        clean.push(c);
    }
    if clean.is_empty() {
        clean.push_str("unknown");
    }
    clean
}

fn is_printable(c: char) -> bool {
    // `escape_debug` knows what is printable, but escapes these three for another reason.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// First 12 digits of a container id, as container tools show it.
pub(super) fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_printable_and_short() {
        assert_eq!(clean(b" nginx: worker "), "nginx: worker");
        assert_eq!(clean(b"a\x1b[31m\nb\xff"), "a_[31m_b\u{fffd}");
        assert_eq!(clean("\u{202e}evil".as_bytes()), "_evil");
        assert_eq!(clean(b""), "unknown");
        assert_eq!(clean("ü".repeat(100).as_bytes()), "ü".repeat(64));
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_name(bytes: Vec<u8>) {
            let name = clean(&bytes);
            prop_assert!(!name.is_empty() && name.len() <= MAX_BYTES);
            prop_assert!(name.chars().all(is_printable));
        }
    }
}
