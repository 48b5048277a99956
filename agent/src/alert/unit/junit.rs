//! Results as JUnit XML, for build servers.

use std::fmt::Write as _;

use super::{Case, Outcome};

/// The results of all files: the cases, or why a file could not be used.
pub(super) fn text(suites: &[(String, Outcome)]) -> String {
    let mut text = String::from("<testsuites>\n");
    for (file, result) in suites {
        let failed = match result {
            Ok(cases) => cases
                .iter()
                .filter(|case| !case.failures.is_empty())
                .count(),
            Err(_) => 0,
        };
        let (tests, errors) = match result {
            Ok(cases) => (cases.len(), 0),
            Err(why) => (0, why.len()),
        };
        let file = escape(file);
        let _ = writeln!(
            text,
            "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\">"
        );
        match result {
            Ok(cases) => cases.iter().for_each(|case| write_case(&mut text, case)),
            Err(why) => {
                for why in why {
                    let _ = writeln!(text, "    <system-err>{}</system-err>", escape(why));
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

fn write_case(text: &mut String, case: &Case) {
    let name = escape(&case.name);
    if case.failures.is_empty() {
        let _ = writeln!(text, "    <testcase name=\"{name}\"/>");
        return;
    }
    let _ = writeln!(text, "    <testcase name=\"{name}\">");
    for failure in &case.failures {
        let _ = writeln!(text, "      <failure>{}</failure>", escape(failure));
    }
    text.push_str("    </testcase>\n");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
