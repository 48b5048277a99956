//! The agent's own messages, on stderr.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_log::LogTracer;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{Registry, fmt};

use crate::config::{Log, LogFormat, LogLevel};

use std::sync::OnceLock;

static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts to write messages. Only the first call counts.
pub fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let output = match log.format {
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
        LogFormat::Text => {
            let is_terminal = std::io::stderr().is_terminal();
            fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(is_terminal)
                .with_target(false)
                .boxed()
        }
    };
    let subscriber = Registry::default().with(filter).with(output);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // Both fail only if they are set already, which the line above excludes.
        let _ = LEVEL.set(handle);
        // The probes' messages come by the crate `log`; so do aya's, which are about its insides.
        let _ = LogTracer::builder()
            .ignore_crate("aya")
            .ignore_crate("aya_obj")
            .init();
    }
}

/// Changes the level while running.
pub fn change(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // Fails only if the subscriber is gone, and it is global.
        let _ = handle.modify(|now| *now = filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
