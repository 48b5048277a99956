//! Logs, as text or JSON, to standard error; spans over OTLP where an endpoint is set.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, ensure};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

/// Target of spans meant for traces alone. Without an endpoint nobody listens to it, so that such
/// a span costs one atomic read.
pub(crate) const SPAN: &str = "weir_stack::span";

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by module, for example
    /// `info,weir_stack::chat=debug`.
    pub(crate) level: String,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// Where spans go (OTLP over gRPC), for example `http://127.0.0.1:4317`. Empty: nowhere.
    pub(crate) traces: String,
    /// Share of new traces that are kept, 0 to 1. A caller's decision (`traceparent`) wins.
    pub(crate) traces_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
            traces: String::new(),
            traces_share: 0.1,
        }
    }
}

/// Sends the last spans when it is dropped.
#[derive(Debug)]
pub(crate) struct Started(Option<SdkTracerProvider>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Starts logging and tracing; call once, inside the run time (the exporter connects on it).
///
/// # Errors
/// If a key of `[log]` cannot be used; the error names it.
pub(crate) fn start(name: &'static str, config: &Config) -> Result<Started> {
    let level = config.level.parse::<Targets>().with_context(|| {
        format!(
            "[log] level = {:?}: want for example \"info\" or \"warn,weir_stack::chat=debug\"",
            config.level
        )
    })?;
    // The box parser warns of every box it does not know, which is a sender to log as it likes.
    let level = level
        .with_target(SPAN, LevelFilter::OFF)
        .with_target("mp4_atom", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = if config.json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    let provider = provider(name, config)?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("weir-stack"))
            .with_filter(Targets::new().with_target(SPAN, LevelFilter::INFO))
    });
    Registry::default()
        .with(lines.with_filter(level))
        .with(spans)
        .try_init()
        .context("starting the log")?;
    Ok(Started(provider))
}

fn provider(name: &'static str, config: &Config) -> Result<Option<SdkTracerProvider>> {
    if config.traces.is_empty() {
        return Ok(None);
    }
    ensure!(
        (0.0..=1.0).contains(&config.traces_share),
        "[log] traces_share = {}: want 0 to 1",
        config.traces_share
    );
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.traces)
        .build()
        .with_context(|| {
            format!(
                "[log] traces = {:?}: want for example \"http://127.0.0.1:4317\"",
                config.traces
            )
        })?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.traces_share)));
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(Resource::builder().with_service_name(name).build())
            .build(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_used_is_named() {
        let error = |config| format!("{:#}", start("test", &config).unwrap_err());
        let level = error(Config {
            level: "loud=very".to_owned(),
            ..Config::default()
        });
        assert!(
            level.starts_with("[log] level = \"loud=very\": want"),
            "{level}"
        );
        let traces = "http://127.0.0.1:1".to_owned();
        let share = error(Config {
            traces,
            traces_share: 1.5,
            ..Config::default()
        });
        assert_eq!(share, "[log] traces_share = 1.5: want 0 to 1");
        let endpoint = error(Config {
            traces: "not an endpoint".to_owned(),
            ..Config::default()
        });
        assert!(
            endpoint.starts_with("[log] traces = \"not an endpoint\": want"),
            "{endpoint}"
        );
    }
}
