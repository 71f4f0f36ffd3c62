//! docs/why.md says what each field of a story means.

use serde_json::Value;

use super::{Context, Story, question, recorded};

const DOCUMENTED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/why.md"));

#[test]
fn every_field_of_a_story_is_documented() {
    let context = Context { all: true, ..Context::default() };
    let story = Story::of(recorded(), &question(&["10.2.0.2"], &[]), context);
    let mut names = Vec::new();
    fields(&serde_json::to_value(&story).unwrap(), &mut names);
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(DOCUMENTED.contains(&format!("`{name}`")), "docs/why.md does not tell of {name}");
    }
}

fn fields(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if !names.contains(name) {
                    names.push(name.clone());
                }
                fields(value, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, names)),
        _ => {}
    }
}
