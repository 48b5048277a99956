//! `METRICS.md`: what each service counts.

use std::fmt::Write as _;

use anyhow::Result;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::{HEAD, cell};
use crate::daemon::{Limits, Process, Row, Server, Table};

/// The reference.
pub(super) fn reference() -> Result<String> {
    let mut out = format!(
        "# Metrics of the stack\n\n{HEAD}\n\nEach service shows its own at `/metrics`, in OpenMetrics' \
         text. They are its own account; what its users went through is in the [truth](TRUTH.md).\n"
    );
    for (name, make) in services() {
        let mut table = Table::default();
        make(&mut table);
        _ = write!(out, "\n## {name}\n\n{COLUMNS}");
        table.rows().iter().for_each(|row| put(&mut out, row));
    }
    let mut table = Table::default();
    Server::new(&mut table, Limits::default());
    _ = write!(out, "\n## HTTP of origin, game and arena\n\n{COLUMNS}");
    table.rows().iter().for_each(|row| put(&mut out, row));
    _ = write!(out, "\n## Every process\n\n{COLUMNS}");
    out.push_str(&of_processes()?);
    Ok(out)
}

const COLUMNS: &str = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";

type Make = fn(&mut Table);

fn services() -> [(&'static str, Make); 4] {
    [
        ("origin", crate::origin::register),
        ("chat", crate::chat::register),
        ("game", crate::game::register),
        ("arena", crate::game::arena::register),
    ]
}

fn put(out: &mut String, row: &Row) {
    let labels: Vec<String> = row
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    _ = writeln!(
        out,
        "| `{}` | {} | {} | {} |",
        row.name,
        row.kind,
        labels.join(", "),
        cell(row.help)
    );
}

/// Out of what this very process says of itself.
fn of_processes() -> Result<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let mut said = String::new();
    text::encode(&mut said, &registry)?;
    let of = |line: &str, what: &str| -> Option<(String, String)> {
        let (name, rest) = line.strip_prefix(what)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let mut out = String::new();
    for (name, help) in said.lines().filter_map(|line| of(line, "# HELP ")) {
        let kind = said
            .lines()
            .filter_map(|line| of(line, "# TYPE "))
            .find(|(known, _)| *known == name)
            .map_or(String::new(), |(_, kind)| kind);
        let ending = if kind == "counter" { "_total" } else { "" };
        let help = help.trim_end_matches('.');
        _ = writeln!(out, "| `{name}{ending}` | {kind} |  | {} |", cell(help));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_meaning() {
        let text = reference().unwrap();
        let mut names = HashSet::new();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split(" | ").collect();
            assert!(names.insert(cells[0]), "twice: {line}");
            assert!(cells[3].len() > 5, "{line}");
        }
        for name in ["origin_requests_total", "process_cpu_seconds_total"] {
            assert!(text.contains(&format!("| `{name}` | counter |")), "{text}");
        }
    }
}
