//! Reads a script into commands. Blank lines and comments end a block; what
//! cannot be read fails the case it belongs to, not the script.

use crate::annotation::Severity;
use crate::parse::parse_duration;

/// One command of a script.
#[derive(Debug)]
pub(super) enum Command {
    /// Forget all series.
    Clear,
    /// Add samples.
    Load(Load),
    /// Evaluate and compare.
    Eval(Box<EvalCase>),
    /// What could not be read.
    Unknown { line: usize, text: String },
}

/// Series and the distance of their samples.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) line: usize,
    pub(super) step_ms: i64,
    /// Classic histograms are to be added as native ones too.
    pub(super) nhcb: bool,
    pub(super) series: Vec<String>,
}

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Instant(i64),
    Range {
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    },
}

/// A text to be compared with errors or remarks.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Any,
    Exact(String),
    Regex(String),
}

/// What is expected beside the result.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) fail: Option<Pattern>,
    pub(super) ordered: bool,
    pub(super) none_of: Vec<Severity>,
    pub(super) some_of: Vec<(Severity, Pattern)>,
    pub(super) text: Option<String>,
    pub(super) matrix: Option<(i64, i64, i64)>,
    /// Result lines.
    pub(super) lines: Vec<String>,
}

/// One `eval`.
#[derive(Debug)]
pub(super) struct EvalCase {
    pub(super) line: usize,
    pub(super) when: When,
    pub(super) expr: String,
    pub(super) expected: Expected,
    /// What could not be read of it.
    pub(super) problem: Option<String>,
}

/// Reads all commands of a script.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            let line = line.trim();
            if line.starts_with('#') { "" } else { line }
        })
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let block: Vec<&str> = lines[at..]
            .iter()
            .take_while(|line| !line.is_empty())
            .copied()
            .collect();
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        found.push(match command {
            "clear" => Command::Clear,
            "load" | "load_with_nhcb" => {
                at += block.len();
                load(number, rest, command == "load_with_nhcb", &block)
            }
            _ if command.starts_with("eval") => {
                at += block.len();
                eval(number, command, rest, &block)
            }
            _ => Command::Unknown {
                line: number,
                text: (*line).to_owned(),
            },
        });
    }
    found
}

fn load(line: usize, rest: &str, nhcb: bool, block: &[&str]) -> Command {
    match parse_duration(rest.trim()) {
        Some(step_ms @ 1..) => {
            let series = block.iter().map(|line| (*line).to_owned()).collect();
            Command::Load(Load {
                line,
                step_ms,
                nhcb,
                series,
            })
        }
        _ => Command::Unknown {
            line,
            text: format!("load {rest}"),
        },
    }
}

fn eval(line: usize, command: &str, rest: &str, block: &[&str]) -> Command {
    let mut case = EvalCase {
        line,
        when: When::Instant(0),
        expr: String::new(),
        expected: Expected::default(),
        problem: None,
    };
    match when(rest) {
        Some((when, expr)) => {
            case.when = when;
            case.expr = expr.to_owned();
        }
        None => case.problem = Some(format!("cannot read {rest:?}")),
    }
    let expected = &mut case.expected;
    // The older spelling puts the expectation into the command.
    match command.strip_prefix("eval").unwrap_or_default() {
        "" => {}
        "_fail" => expected.fail = Some(Pattern::Any),
        "_warn" => expected.some_of.push((Severity::Warning, Pattern::Any)),
        "_info" => expected.some_of.push((Severity::Info, Pattern::Any)),
        "_ordered" => expected.ordered = true,
        other => case.problem = Some(format!("unknown command \"eval{other}\"")),
    }
    for line in block {
        let result = match line.split_once(char::is_whitespace) {
            Some(("expect", rest)) => expectation(expected, rest.trim()),
            Some(("expected_fail_message", rest)) => {
                expected.fail = Some(Pattern::Exact(rest.trim().to_owned()));
                Ok(())
            }
            Some(("expected_fail_regexp", rest)) => {
                expected.fail = Some(Pattern::Regex(rest.trim().to_owned()));
                Ok(())
            }
            _ => {
                expected.lines.push((*line).to_owned());
                Ok(())
            }
        };
        if let Err(problem) = result {
            case.problem = Some(problem);
        }
    }
    Command::Eval(Box::new(case))
}

/// `instant at T expr` or `range from A to B step S expr`
fn when(text: &str) -> Option<(When, &str)> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("instant at ") {
        let (at, expr) = rest.trim().split_once(char::is_whitespace)?;
        return Some((When::Instant(parse_duration(at)?), expr.trim()));
    }
    let rest = text.strip_prefix("range ")?.trim();
    let ((start_ms, end_ms, step_ms), expr) = bounds(rest)?;
    Some((
        When::Range {
            start_ms,
            end_ms,
            step_ms,
        },
        expr,
    ))
}

/// `from A to B step S rest`
fn bounds(text: &str) -> Option<((i64, i64, i64), &str)> {
    let mut rest = text;
    let mut times = [0; 3];
    for (word, time) in ["from", "to", "step"].iter().zip(&mut times) {
        rest = rest.trim_start().strip_prefix(word)?.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        *time = parse_duration(&rest[..end])?;
        rest = &rest[end..];
    }
    let [start, end, step] = times;
    (step > 0).then_some(((start, end, step), rest.trim()))
}

fn expectation(expected: &mut Expected, text: &str) -> Result<(), String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let pattern = || -> Result<Pattern, String> {
        if rest.is_empty() {
            return Ok(Pattern::Any);
        }
        if let Some(text) = rest.strip_prefix("msg:") {
            return Ok(Pattern::Exact(text.trim().to_owned()));
        }
        let regex = rest
            .strip_prefix("regex:")
            .map(|text| Pattern::Regex(text.trim().to_owned()));
        regex.ok_or_else(|| format!("cannot read expectation {text:?}"))
    };
    match word {
        "fail" => expected.fail = Some(pattern()?),
        "warn" => expected.some_of.push((Severity::Warning, pattern()?)),
        "info" => expected.some_of.push((Severity::Info, pattern()?)),
        "no_warn" => expected.none_of.push(Severity::Warning),
        "no_info" => expected.none_of.push(Severity::Info),
        "ordered" => expected.ordered = true,
        "string" => match crate::parse::parse(rest).map(|expr| expr.kind) {
            Ok(crate::ast::ExprKind::String(text)) => expected.text = Some(text),
            _ => return Err(format!("cannot read string {rest:?}")),
        },
        "range" => {
            let found = rest.strip_prefix("vector").and_then(bounds);
            expected.matrix = Some(found.ok_or_else(|| format!("cannot read {text:?}"))?.0);
        }
        _ => return Err(format!("unknown expectation {word:?}")),
    }
    Ok(())
}
