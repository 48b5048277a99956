//! Logs, as text or JSON, to standard error; traces over OTLP where an endpoint is set.

use serde::{Deserialize, Serialize};

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// Where spans go (OTLP over gRPC), for example `http://127.0.0.1:4317`. Empty: nowhere.
    pub(crate) traces: String,
}

/// Starts logging; call once.
pub(crate) fn start(config: &Config) {
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr);
    if config.json {
        builder.json().init();
    } else {
        builder.init();
    }
}
