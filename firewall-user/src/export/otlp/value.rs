//! Attributes: names with values, as OpenTelemetry has them.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// What is told of an event, a value or the sender: names with values.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Adds a text.
    pub(super) fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.add(key, Value::StringValue(value.into()));
    }

    /// Adds a number. OpenTelemetry knows signed ones only: what is above them, which nothing counts to, is the highest.
    pub(super) fn number(&mut self, key: &'static str, value: impl Into<u64>) {
        self.add(key, integer(value.into()));
    }

    /// Adds two numbers.
    pub(super) fn pair(&mut self, key: &'static str, [first, second]: [u64; 2]) {
        let values = [first, second].map(|value| any(integer(value))).into();
        self.add(key, Value::ArrayValue(ArrayValue { values }));
    }

    /// Adds a yes or no.
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.add(key, Value::BoolValue(value));
    }

    /// All of them.
    pub(super) fn into_inner(self) -> Vec<KeyValue> {
        self.0
    }

    fn add(&mut self, key: &'static str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(any(value)),
            ..KeyValue::default()
        });
    }
}

/// A value.
pub(super) fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn integer(value: u64) -> Value {
    Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Who sends: `instance` of fwx on this host.
pub(super) fn resource(instance: &str) -> Resource {
    let host = nix::unistd::gethostname()
        .map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut attributes = Attributes::default();
    attributes.text("service.name", "fwx");
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    // It has to be unique among all that are called fwx, on whatever host.
    attributes.text("service.instance.id", format!("{host}/{instance}"));
    attributes.text("host.name", host);
    attributes.text("fwx.instance", instance);
    Resource { attributes: attributes.into_inner(), ..Resource::default() }
}

/// What makes logs and metrics.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "fwx".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
