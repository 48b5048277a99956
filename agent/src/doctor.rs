//! Says what works on this host: attaches everything once and reports.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::cli::print;
use crate::config::Config;
use crate::kernel::{Attached, Kernel};
use crate::start;

/// The whole report.
#[derive(Serialize)]
struct Report<'a> {
    kernel: String,
    transport: String,
    probes: &'a [Attached],
}

/// Examines the host. Exit code 1 if a probe has no rung.
///
/// # Errors
/// If nothing can be attached at all.
pub fn examine(config: &Config, json: bool) -> Result<ExitCode> {
    let kernel = start::kernel(config)?;
    let report = Report {
        kernel: crate::service::Resolver::new(Box::new(crate::service::NoPodNames))
            .kernel_release(),
        transport: format!("{:?}", kernel.options().transport).to_lowercase(),
        probes: kernel.attached(),
    };
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    } else {
        print(&text(&report, &kernel));
    }
    let missing = report.probes.iter().any(|probe| probe.rung.is_none());
    Ok(if missing {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn text(report: &Report<'_>, kernel: &Kernel) -> String {
    let options = kernel.options();
    let mut out = format!(
        "kernel {}; records by {} buffer; room for {} connections and {} services\n\n",
        report.kernel,
        report.transport,
        options.max_connections,
        options.max_owners - 1
    );
    for probe in report.probes {
        // Writing to a String cannot fail.
        let _ = match probe.rung {
            Some(rung) => writeln!(out, "  ok   {:<15} {rung:<11} {}", probe.probe, probe.fact),
            None => writeln!(out, "  OFF  {:<15} {:<11} {}", probe.probe, "-", probe.fact),
        };
        if !probe.blind.is_empty() {
            let _ = writeln!(
                out,
                "       {:15} {:11} does not see {}",
                "", "", probe.blind
            );
        }
        for failed in &probe.failed {
            let (rung, why) = (failed.rung, failed.reason());
            let _ = writeln!(out, "       {:15} {:11} not {rung}: {why}", "", "");
        }
    }
    out
}
