//! Filters as protocols bind them, and `[filter.NAME]`.

use std::borrow::Cow;

use firewall_common::filter::FilterId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The name of a filter.
pub struct Filter;

impl JsonSchema for Filter {
    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": FilterId::ALL.map(FilterId::name)})
    }
}

/// A filter as a protocol binds it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Binding {
    /// By its name: it behaves as it does everywhere.
    Name(Filter),
    /// With what is other for this protocol.
    Own(BindingTable),
}

/// `filter = { … }` of a protocol.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BindingTable {
    /// The filter's name.
    pub name: Filter,
    /// What the filter does about what it finds; left out: as `[filter.NAME]` says.
    pub mode: Option<Mode>,
    /// How much it dislikes; left out: as `[filter.NAME]` says.
    pub profile: Option<Profile>,
}

/// `[filter.NAME]`, of each filter there is.
pub struct Filters;

impl JsonSchema for Filters {
    fn schema_name() -> Cow<'static, str> {
        "Filters".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let properties = FilterId::ALL.map(|filter| {
            let mut schema = FilterTable::json_schema(generator);
            let title = format!("`[filter.{}]`", filter.name());
            schema.insert("description".to_owned(), title.into());
            if !filter.commands().is_empty() {
                let commands = serde_json::json!({
                    "description": "The commands that are allowed; all if left out.",
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "enum": filter.commands()},
                });
                if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                    properties.insert("commands".to_owned(), commands);
                }
            }
            (filter.name().to_owned(), schema.to_value())
        });
        let properties: serde_json::Map<_, _> = properties.into_iter().collect();
        json_schema!({"type": "object", "additionalProperties": false, "properties": properties})
    }
}

/// What every `[filter.NAME]` may say.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FilterTable {
    /// What the filter does about what it finds.
    #[schemars(extend("default" = "monitor"))]
    pub mode: Option<Mode>,
    /// How much it dislikes.
    #[schemars(extend("default" = "standard"))]
    pub profile: Option<Profile>,
}

/// What a filter does about what it finds.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Mode {
    /// It reads nothing.
    Off,
    /// It reports and never touches a packet.
    Monitor,
    /// It kills what the profile forbids.
    Enforce,
}

/// How much a filter dislikes.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Profile {
    /// What does not speak the protocol and what abuses resources.
    Standard,
    /// Any departure from the grammar.
    Strict,
}
