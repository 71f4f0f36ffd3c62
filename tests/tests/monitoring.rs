//! Dashboard, alerts and documentation speak of metrics that there are, and alerts fire when they should.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use firewall_user::metrics::{Definition, definitions};
use lab::receivers;
use serde_json::Value;

/// Labels that Prometheus gives every series.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// What Prometheus itself says of a target.
const UP: &str = "up";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn promtool(arguments: &[&str], file: &str) -> String {
    let mut command: Command = receivers::promtool().unwrap();
    let output = command.args(arguments).arg(path(file)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}

/// The words behind each `key` at a line's beginning.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)).collect()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_alerts() {
    let alerts = values(&read("monitoring/prometheus/fwx.rules.yml"), "alert: ").len();
    let said = promtool(&["check", "rules"], "monitoring/prometheus/fwx.rules.yml");
    assert!(said.contains(&format!("{alerts} rules found")), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_not_before() {
    promtool(&["test", "rules"], "monitoring/prometheus/fwx.rules.test.yml");
    let tests = read("monitoring/prometheus/fwx.rules.test.yml");
    for alert in values(&read("monitoring/prometheus/fwx.rules.yml"), "alert: ") {
        let fires = tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n"));
        let rests = tests.contains(&format!("alertname: {alert}, exp_alerts: []"));
        assert!(fires && rests, "{alert}: fires {fires}, does not {rests}");
    }
}

#[test]
fn alerts_are_those_of_the_documentation() {
    let documentation = read("docs/monitoring.md");
    let documented: BTreeSet<_> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `Fwx")?.split_once('`'))
        .map(|(name, _)| format!("Fwx{name}"))
        .collect();
    let rules = read("monitoring/prometheus/fwx.rules.yml");
    let alerts: BTreeSet<_> = values(&rules, "alert: ").into_iter().map(str::to_owned).collect();
    assert_eq!(alerts, documented);
}

#[test]
fn metrics_are_those_of_the_documentation() {
    let documentation = read("docs/monitoring.md");
    let documented: Vec<&str> = documentation
        .lines()
        .filter(|line| line.starts_with("| `fwx_") || line.starts_with("| `process_"))
        .collect();
    let row = |Definition { name, labels, help, .. }: &Definition| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {} | {help} |", labels.join(", "))
    };
    let there: Vec<_> = definitions::ALL.iter().map(row).collect();
    assert_eq!(documented, there);
}

#[test]
fn alerts_ask_for_metrics_and_labels_that_there_are() {
    let rules = read("monitoring/prometheus/fwx.rules.yml");
    let asked = check(&rules);
    assert!(asked.contains("fwx_events_lost_total") && asked.contains(UP), "{asked:?}");
    check(&read("monitoring/prometheus/fwx.rules.test.yml"));
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana/fwx.json")).unwrap();
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            panels += 1;
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains("instance=~\"$instance\""), "{query}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{query}");
            let asked = check(query);
            let known = labels_of(&asked);
            for label in templates(target["legendFormat"].as_str().unwrap()) {
                assert!(known.contains(label), "{label} of {query}");
            }
        }
    }
    assert!(panels > 30, "{panels}");
    for other in ["templating", "annotations"] {
        check(&dashboard[other].to_string().replace("\\\"", "\""));
    }
}

#[test]
fn panels_lie_beside_each_other() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana/fwx.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().unwrap());
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(place.0 < 24 && taken.insert(place), "{}: {place:?}", panel["title"]);
        }
    }
}

/// Sees to it that each metric in `text` is there, and has the labels that are asked of it. Returns their names.
fn check(text: &str) -> BTreeSet<&str> {
    let mut asked = BTreeSet::new();
    for (at, word) in words(text) {
        let is_metric =
            (word.starts_with("fwx_") || word.starts_with("process_")) && word != "fwx_";
        if !is_metric && word != UP {
            continue;
        }
        asked.insert(word);
        let labels = labels(word);
        for label in matched(&text[at + word.len()..]) {
            assert!(labels.contains(label), "{word} has no label {label}");
        }
    }
    let known = labels_of(&asked);
    for clause in ["by (", "on (", "by(", "on("] {
        for (_, rest) in text.match_indices(clause).map(|(at, _)| text.split_at(at + clause.len()))
        {
            let names = rest.split(')').next().unwrap_or_default().split(',').map(str::trim);
            for name in names {
                assert!(known.contains(name), "{clause}{name}) in {text}");
            }
        }
    }
    asked
}

/// The labels of a metric.
fn labels(metric: &str) -> BTreeSet<&'static str> {
    let definition = definitions::ALL.iter().find(|definition| definition.name == metric);
    let own = match definition {
        Some(definition) => definition.labels,
        None if metric == UP => &[],
        None => panic!("there is no metric {metric}"),
    };
    own.iter().copied().chain(OF_PROMETHEUS).collect()
}

fn labels_of(metrics: &BTreeSet<&str>) -> BTreeSet<&'static str> {
    metrics.iter().flat_map(|metric| labels(metric)).collect()
}

/// The names in `{name=~"…", other="…"}`, if that is what `text` begins with.
fn matched(text: &str) -> Vec<&str> {
    let Some(mut rest) = text.strip_prefix('{') else { return Vec::new() };
    let mut names = Vec::new();
    while !rest.starts_with('}') {
        let end = rest.find(['=', '!']).expect("a matcher");
        names.push(rest[..end].trim_matches([' ', ',']));
        let quoted = rest[end..].split('"').nth(1).expect("a value in quotation marks");
        rest = &rest[end..][rest[end..].find('"').unwrap() + quoted.len() + 2..];
        rest = rest.trim_start_matches([' ', ',']);
    }
    names
}

/// The names in `{{name}}`.
fn templates(text: &str) -> Vec<&str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect()
}

/// Whole words, and where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_outside = |it: char| !it.is_ascii_alphanumeric() && it != '_';
    text.split(is_outside).map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

#[test]
fn a_metric_that_is_none_is_found() {
    assert_eq!(matched(r#"{a=~"x}", b!="y"} > 3"#), ["a", "b"]);
    assert_eq!(check("sum by (reason) (fwx_outcomes_total{job=\"fwx\"})").len(), 1);
    for wrong in [
        "fwx_nothing_total",
        "fwx_flows{reason=\"x\"}",
        "sum by (nothing) (fwx_flows{state=\"x\"})",
    ] {
        let caught = std::panic::catch_unwind(|| check(wrong).len());
        assert!(caught.is_err(), "{wrong}");
    }
}
