//! The rule engine under load, and what others are fed with to compare: `cargo xtask bench rules`
//! runs this. `write` makes the rule file, `serve` the series as an exporter, `feed` gives the same
//! series to Weir's own store and rules, at the same times; `size` tells what a store takes.
//!
//! `cargo run --release -p weir --example rules -- feed RULES|none INTERVAL_SECONDS`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should say where"
)]

mod course;
mod exporter;
mod feed;
mod size;

use std::path::Path;
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", file, interval] => {
            std::fs::write(file, course::rules(seconds(interval))).unwrap();
        }
        ["serve", interval] => exporter::serve(seconds(interval)),
        ["feed", "none", interval] => feed::run(None, seconds(interval)),
        ["feed", rules, interval] => feed::run(Some(Path::new(rules)), seconds(interval)),
        ["size"] => size::measure(),
        _ => panic!("size | write FILE INTERVAL | serve INTERVAL | feed RULES|none INTERVAL"),
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse::<u64>().unwrap().max(1))
}
