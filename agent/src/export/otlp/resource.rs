//! Who sends: resource and scope, by OpenTelemetry's semantic conventions, encoded once.

use std::collections::BTreeMap;

use anyhow::ensure;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

/// Most bytes that resource and scope may take of each request.
const MAX_BYTES: usize = 64 << 10;

/// The encoded `Resource` and `InstrumentationScope` that open each request.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) resource: Vec<u8>,
    pub(super) scope: Vec<u8>,
}

impl Origin {
    /// Weir's own attributes, replaced and extended by those given.
    pub(super) fn new(extra: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        ensure!(
            !extra.contains_key(""),
            "otlp.resource: an attribute without a name"
        );
        let attributes = attributes(extra);
        let resource = Resource {
            attributes: attributes
                .into_iter()
                .map(|(key, value)| attribute(key, value))
                .collect(),
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "weir".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let origin = Self {
            resource: resource.encode_to_vec(),
            scope: scope.encode_to_vec(),
        };
        ensure!(
            origin.resource.len() + origin.scope.len() <= MAX_BYTES,
            "otlp.resource: more than {MAX_BYTES} bytes of attributes"
        );
        Ok(origin)
    }
}

/// The instance is the host: without it the series of two nodes would be one and the same at
/// receivers that build `instance` from `service.instance.id`.
fn attributes(extra: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let mut all: BTreeMap<String, String> = [
        ("host.name", host.as_str()),
        ("os.type", "linux"),
        ("service.instance.id", host.as_str()),
        ("service.name", "weir"),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    all.extend(extra.clone());
    all
}

fn attribute(key: String, value: String) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}
