//! What a protocol may say in the schema, which depends on its transport: by the names that the parser knows.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::policy::{icmp, transport};

/// An IP protocol.
pub struct Transport;

impl JsonSchema for Transport {
    fn schema_name() -> Cow<'static, str> {
        "Transport".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": transport::NAMES.map(|(name, _)| name)},
            {"type": "integer", "minimum": 0, "maximum": 255},
        ]})
    }
}

/// A type of ICMP message: [`by_transport`] says which names there are.
pub struct Type;

impl JsonSchema for Type {
    fn schema_name() -> Cow<'static, str> {
        "Type".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 255},
            {"type": "string", "pattern": WITH_CODE},
        ]})
    }
}

const WITH_CODE: &str = "^[0-9a-z-]+(/[0-9]+)?$";

/// What protocols of each sort of transport must say, and must not.
pub(super) fn by_transport() -> Value {
    let is = |transports: &[transport::Transport]| {
        let written = transports.iter().flat_map(|it| [json!(it.name()), json!(it.number())]);
        let written: Vec<_> = written.collect();
        json!({"properties": {"transport": {"enum": written}}})
    };
    let with_types = |transport| {
        let names = icmp::names(transport).iter().map(|(name, _)| *name);
        let names = names.collect::<Vec<_>>().join("|");
        let written = format!("^([0-9]+|{names})(/[0-9]+)?$");
        let types = json!({"items": {"type": ["integer", "string"], "pattern": written}});
        json!({"if": is(&[transport]), "then": {"properties": {"ports": false, "types": types}}})
    };
    let [tcp, udp, icmp, icmpv6] = {
        use transport::Transport::{Icmp, Icmpv6, Tcp, Udp};
        [Tcp, Udp, Icmp, Icmpv6]
    };
    json!([
        {
            "if": is(&[tcp, udp]),
            "then": {"required": ["ports"], "properties": {"types": false}},
        },
        with_types(icmp),
        with_types(icmpv6),
        {
            "if": is(&[tcp, udp, icmp, icmpv6]),
            "else": {"properties": {"ports": false, "types": false}},
        },
        {
            "if": is(&[transport::Transport::OF_FILTERS]),
            "else": {"properties": {"filter": false}},
        },
    ])
}
