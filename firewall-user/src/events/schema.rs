//! The JSON Schema (draft 2020-12) of events, and of what is said over the controller's socket.

use crate::{
    event::Event,
    schema::{without_format, without_null},
    subscribe::{Answer, Request},
};
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    json_schema,
    transform::{RecursiveTransform, Transform as _},
};

/// The schema of an event; in `$defs` also those of a request to the socket and of its answers that are no events.
pub fn schema() -> Schema {
    let mut event = definition::<Event>();
    RecursiveTransform(without_null).transform(&mut event);
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of fwx",
        "description": "A line of `fwx events -o json`, and of the controller's socket. New fields may be added.",
        "$ref": "#/$defs/event",
        "$defs": {
            "event": event,
            "request": definition::<Request>(),
            "answer": definition::<Answer>(),
        },
    })
}

fn definition<T: JsonSchema>() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("$schema");
    RecursiveTransform(without_format).transform(&mut schema);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Names, decode};
    use firewall_common::event::{EventKind, Record};
    use jsonschema::Validator;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::{fs, path::PathBuf};

    fn docs(file: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
    }

    /// That of events, or of one of the other definitions.
    fn validator(definition: &str) -> Validator {
        let mut schema = schema().to_value();
        schema["$ref"] = format!("#/$defs/{definition}").into();
        jsonschema::draft202012::new(&schema).unwrap()
    }

    fn check(validator: &Validator, value: &Value) {
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{value}: {errors:?}");
    }

    /// Written anew by `FWX_WRITE_DOCS=1 cargo test -p firewall-user schema`.
    #[test]
    fn the_documented_schema_is_this_one() {
        let file = docs("events.schema.json");
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("FWX_WRITE_DOCS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert!(fs::read_to_string(&file).unwrap() == text, "{} differs", file.display());
    }

    #[test]
    fn every_field_is_described() {
        fn visit(schema: &Value, at: &str) {
            let properties = schema["properties"].as_object();
            for (name, field) in properties.into_iter().flatten() {
                assert!(field["description"].is_string(), "{at}.{name}");
                visit(field, &format!("{at}.{name}"));
            }
        }
        let schema = schema().to_value();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            visit(definition, name);
            let variants = definition["anyOf"].as_array();
            variants.into_iter().flatten().for_each(|variant| visit(variant, name));
        }
        assert!(
            schema["$defs"]["event"]["properties"]["packet"]["properties"]["bytes"].is_object()
        );
    }

    /// What stands behind four blanks in docs/events.md: objects, each over one line or several.
    fn examples() -> Vec<Value> {
        let text = fs::read_to_string(docs("events.md")).unwrap();
        let indented: String = text
            .lines()
            .map(|line| match line.strip_prefix("    ") {
                Some(line) if line.starts_with(['{', ' ']) => format!("{line}\n"),
                _ => "\0".to_owned(),
            })
            .collect();
        let blocks = indented.split('\0').filter(|block| !block.is_empty());
        blocks
            .flat_map(|block| {
                serde_json::Deserializer::from_str(block)
                    .into_iter::<Value>()
                    .map(|value| value.unwrap_or_else(|error| panic!("{error}: {block}")))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn the_documented_examples_are_valid() {
        let [event, request, answer] = ["event", "request", "answer"].map(validator);
        let mut seen = [0; 3];
        for example in examples() {
            let has = |field: &str| example.get(field).is_some();
            let (which, validator) = match () {
                () if has("event_id") => (0, &event),
                () if has("published") || has("error") => (2, &answer),
                () if has("packet") => continue,
                () => (1, &request),
            };
            check(validator, &example);
            if which == 0 {
                check_completeness(serde_json::from_value(example).unwrap());
            }
            seen[which] += 1;
        }
        assert!(seen[0] >= 8 && seen[1] >= 3 && seen[2] >= 2, "{seen:?}");
    }

    /// What the table of fields promises of some events, and the schema cannot demand of all.
    fn check_completeness(event: Event) {
        let ended = [EventKind::ConnectionClosed, EventKind::ConnectionKilled].map(Some);
        assert_eq!(event.totals.is_some(), ended.contains(&event.kind()), "{event:?}");
        let has_ports = event.src_port.is_some();
        assert_eq!(event.community_id.is_some(), has_ports, "{event:?}");
    }

    #[test]
    fn what_is_none_is_not_valid() {
        let event = json!({"timestamp": "2026-01-02T03:04:05.000000000Z", "event": "control", "event_id": 1});
        let with = |field: &str, value: Value| {
            let mut event = event.clone();
            event[field] = value;
            event
        };
        let events = validator("event");
        check(&events, &event);
        check(&events, &with("new", json!({"field": 1})));
        for (field, value) in [
            ("timestamp", json!("2026-01-02")),
            ("event", json!("dropped")),
            ("event_id", json!(-1)),
            ("reason", Value::Null),
            ("src_port", json!(65_536)),
            ("code", json!("0xC0040017")),
            ("packet", json!({"link": "token ring", "length": 1, "bytes": ""})),
            ("filter", json!({})),
        ] {
            assert!(!events.is_valid(&with(field, value)), "{field}");
        }
        let requests = validator("request");
        for request in
            [json!({"last": -1}), json!({"follows": true}), json!({"where": {"ports": []}})]
        {
            assert!(!requests.is_valid(&request), "{request}");
            assert!(serde_json::from_value::<Request>(request).is_err());
        }
        check(&requests, &serde_json::to_value(Request::default()).unwrap());
        assert!(!validator("answer").is_valid(&json!({"publish": 1})));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn whatever_the_kernel_says_is_a_valid_event(
            bytes in prop::collection::vec(any::<u8>(), size_of::<Record>()),
            packet in prop::collection::vec(any::<u8>(), 0..128),
            kind in 1..6_u8,
            version in prop::sample::select(&[0, 4, 6][..]),
        ) {
            let mut record: Record = bytemuck::pod_read_unaligned(&bytes);
            record.kind = kind;
            record.reason %= 16;
            record.version = version;
            record.link %= 2;
            record.captured = packet.len() as u16;
            record.length = record.length.max(packet.len() as u32);
            let caught = decode(&[bytemuck::bytes_of(&record), &packet].concat()).unwrap();
            let event = Event::of(&caught, &Names::default(), 0).unwrap();
            let value = serde_json::to_value(event).unwrap();
            check(&validator("event"), &value);
        }
    }
}
