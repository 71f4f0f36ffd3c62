//! Metrics as text, in the two forms that Prometheus reads: its own, version 0.0.4, and OpenMetrics 1.0.
//!
//! They differ in what a counter is called where its type is told, and in the end. Crates write the one or the other.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>, <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::Write as _;

use crate::metrics::{Kind, Metric, Sample};

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    /// The one to answer with, where a request's header `Accept` is this (RFC 9110 §12.5.1). Who names OpenMetrics gets
    /// it, all others what everybody reads.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.split(',').any(is_open_metrics) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The header `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The text of `metrics`.
    pub(super) fn text(self, metrics: &[Metric]) -> String {
        let mut text = String::new();
        for metric in metrics {
            self.write(&mut text, metric);
        }
        if self == Self::OpenMetrics {
            text += "# EOF\n";
        }
        text
    }

    fn write(self, text: &mut String, Metric { name, help, kind, samples }: &Metric) {
        let (kind, family) = match kind {
            Kind::Gauge => ("gauge", *name),
            Kind::Counter if self == Self::Prometheus => ("counter", *name),
            Kind::Counter => ("counter", name.strip_suffix("_total").unwrap_or(name)),
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {family} {}", self.escaped_help(help));
        let _ = writeln!(text, "# TYPE {family} {kind}");
        for Sample { labels, value } in samples {
            *text += name;
            for (index, (label, of)) in labels.iter().enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(text, "{before}{label}=\"{}\"", escaped(of));
            }
            *text += if labels.is_empty() { " " } else { "} " };
            *text += &number(*value);
            text.push('\n');
        }
    }

    fn escaped_help(self, help: &str) -> String {
        match self {
            Self::Prometheus => help.replace('\\', "\\\\").replace('\n', "\\n"),
            Self::OpenMetrics => escaped(help),
        }
    }
}

/// Whether a range of an `Accept` header is OpenMetrics, of a version that is written here, and wanted.
fn is_open_metrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_type = |it: &str| it.eq_ignore_ascii_case("application/openmetrics-text");
    parts.next().is_some_and(is_type)
        && parts.all(|parameter| match parameter.split_once('=') {
            Some(("version", version)) => ["1.0.0", "0.0.1"].contains(&version),
            Some(("q", quality)) => quality.parse::<f32>().is_ok_and(|quality| quality > 0.0),
            _ => true,
        })
}

/// The value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // Whole numbers without a point, and "NaN".
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Definition;

    const DROPS: Definition = Definition {
        name: "fwx_drops_total",
        kind: Kind::Counter,
        labels: &["rule", "reason"],
        help: "With \\ and \"quotes\".",
    };
    const FILL: Definition =
        Definition { name: "fwx_fill", kind: Kind::Gauge, labels: &[], help: "Fill." };

    fn metrics() -> Vec<Metric> {
        let labels = ["a\"b\\c\nd".to_owned(), "x".to_owned()];
        vec![DROPS.with([(labels, 12_345_678_901.0)]), FILL.is(0.25)]
    }

    #[test]
    fn the_form_of_prometheus() {
        let expected = "# HELP fwx_drops_total With \\\\ and \"quotes\".\n\
                        # TYPE fwx_drops_total counter\n\
                        fwx_drops_total{rule=\"a\\\"b\\\\c\\nd\",reason=\"x\"} 12345678901\n\
                        # HELP fwx_fill Fill.\n# TYPE fwx_fill gauge\nfwx_fill 0.25\n";
        assert_eq!(Form::Prometheus.text(&metrics()), expected);
    }

    #[test]
    fn the_form_of_open_metrics() {
        let expected = "# HELP fwx_drops With \\\\ and \\\"quotes\\\".\n\
                        # TYPE fwx_drops counter\n\
                        fwx_drops_total{rule=\"a\\\"b\\\\c\\nd\",reason=\"x\"} 12345678901\n\
                        # HELP fwx_fill Fill.\n# TYPE fwx_fill gauge\nfwx_fill 0.25\n# EOF\n";
        assert_eq!(Form::OpenMetrics.text(&metrics()), expected);
    }

    #[test]
    fn what_is_no_number_is_written_as_both_forms_have_it() {
        let texts = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e21].map(number);
        assert_eq!(texts, ["+Inf", "-Inf", "NaN", "1000000000000000000000"]);
    }

    #[test]
    fn who_names_open_metrics_gets_it() {
        let prometheus_2_42 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                               version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted(prometheus_2_42), Form::OpenMetrics);
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0, text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9",
            ",;=;,",
        ] {
            assert_eq!(Form::accepted(accept), Form::Prometheus, "{accept}");
        }
    }
}
