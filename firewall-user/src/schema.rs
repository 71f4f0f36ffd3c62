//! What all JSON Schemas of fwx leave out of what is made of its types.

use schemars::Schema;
use serde_json::Value;

/// Sizes of numbers in Rust are nobody's concern.
pub(crate) fn without_format(schema: &mut Schema) {
    schema.remove("format");
}

/// What does not apply is left out, and never null.
pub(crate) fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|it| it != "null");
        if let [single] = &types[..] {
            let single = single.clone();
            schema.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(schemas)) = schema.get_mut("anyOf") {
        schemas.retain(|it| it != &serde_json::json!({"type": "null"}));
        if let [Value::Object(single)] = &schemas[..] {
            let single = single.clone();
            schema.remove("anyOf");
            for (key, value) in single {
                // What is said of the field stands before what is said of its type.
                schema.ensure_object().entry(key).or_insert(value);
            }
        }
    }
}
