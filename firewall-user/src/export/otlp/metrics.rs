//! Numbers for monitoring as OpenTelemetry has them ("Metrics Data Model").
//!
//! They get the names by which a collector that serves them to Prometheus makes the very names of the controller's own
//! endpoint again ("Prometheus and OpenMetrics Compatibility"): such a collector adds `_total` to what only rises, and the
//! unit where the name does not end in it.

use std::collections::HashMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Gauge, Metric as Told, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};

use super::value::{Attributes, scope};
use crate::metrics::{Kind, Metric, Sample};

/// Units that end a name of Prometheus', and what OpenTelemetry calls them (UCUM).
const UNITS: [(&str, &str); 3] = [("_bytes", "By"), ("_seconds", "s"), ("_ratio", "1")];

/// The readings of one source, one after the other.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Of each counter of the last reading.
    counters: HashMap<Name, Counted>,
    last_read: Option<u64>,
}

/// A metric's name and labels.
type Name = (&'static str, Vec<(&'static str, String)>);

/// What a counter came to.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Since when, nanoseconds since 1970.
    start: u64,
    value: f64,
}

impl Readings {
    /// The request that hands over a reading made at `now`, nanoseconds since 1970.
    pub(super) fn request(
        &mut self,
        resource: &Resource,
        metrics: Vec<Metric>,
        now: u64,
    ) -> ExportMetricsServiceRequest {
        let before = std::mem::take(&mut self.counters);
        let metrics = metrics.into_iter().filter(|metric| !metric.samples.is_empty());
        let metrics = metrics.map(|metric| self.told(metric, &before, now)).collect();
        self.last_read = Some(now);
        let scope_metrics =
            ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
        let resource_metrics = ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
    }

    fn told(&mut self, metric: Metric, before: &HashMap<Name, Counted>, now: u64) -> Told {
        let Metric { name, help, kind, samples } = metric;
        let (told_name, unit) = told_name(name, kind);
        let data = match kind {
            Kind::Gauge => {
                let points = samples.into_iter().map(|sample| point(sample, now)).collect();
                Data::Gauge(Gauge { data_points: points })
            }
            Kind::Counter => {
                let point = |sample| self.counter(name, sample, before, now);
                let data_points = samples.into_iter().map(point).collect();
                Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                })
            }
        };
        Told {
            name: told_name,
            description: help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Told::default()
        }
    }

    fn counter(
        &mut self,
        name: &'static str,
        sample: Sample,
        before: &HashMap<Name, Counted>,
        now: u64,
    ) -> NumberDataPoint {
        let key = (name, sample.labels.clone());
        let start = match (before.get(&key), self.last_read) {
            (Some(counted), _) if sample.value >= counted.value => counted.start,
            // It began anew, or was not there: at some time since the last reading.
            (_, Some(last_read)) => last_read,
            // It counted before anybody looked, which is told by a first point that spans no time.
            (_, None) => now,
        };
        self.counters.insert(key, Counted { start, value: sample.value });
        NumberDataPoint { start_time_unix_nano: start, ..point(sample, now) }
    }
}

/// A name of Prometheus' as a name and a unit of OpenTelemetry: `fwx_rule_bytes_total` is `fwx.rule_bytes` in `By`. A
/// number of things has no unit.
fn told_name(name: &str, kind: Kind) -> (String, &'static str) {
    let name = match kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        Kind::Gauge => name,
    };
    let unit = UNITS.iter().find(|(ending, _)| name.ends_with(ending));
    // What stands before the first underscore is whose it is: a namespace.
    (name.replacen('_', ".", 1), unit.map_or("", |(_, unit)| unit))
}

fn point(sample: Sample, now: u64) -> NumberDataPoint {
    let mut attributes = Attributes::default();
    for (label, value) in sample.labels {
        attributes.text(label, value);
    }
    NumberDataPoint {
        attributes: attributes.into_inner(),
        time_unix_nano: now,
        value: Some(Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Definition, definitions};

    fn metric(name: &'static str, kind: Kind, values: &[(&str, f64)]) -> Metric {
        let samples = values.iter().map(|(reason, value)| Sample {
            labels: vec![("reason", (*reason).to_owned())],
            value: *value,
        });
        Metric { name, help: "A sentence.", kind, samples: samples.collect() }
    }

    fn read(readings: &mut Readings, metric: Metric, now: u64) -> Told {
        let mut request = readings.request(&Resource::default(), vec![metric], now);
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0)
    }

    /// Of each point of a counter: since when, when, and the value.
    fn points(told: &Told) -> Vec<(u64, u64, f64)> {
        let Some(Data::Sum(sum)) = &told.data else { panic!("{told:?} is no sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        sum.data_points
            .iter()
            .map(|point| {
                let Some(Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
                (point.start_time_unix_nano, point.time_unix_nano, value)
            })
            .collect()
    }

    /// What a collector calls a metric when Prometheus fetches it there.
    fn fetched_name(name: &str, unit: &str, kind: Kind) -> String {
        let mut name = name.replace('.', "_");
        let unit = UNITS.iter().find(|(_, known)| *known == unit).map_or("", |(ending, _)| ending);
        if !name.ends_with(unit) {
            name += unit;
        }
        let total = if kind == Kind::Counter { "_total" } else { "" };
        format!("{name}{total}")
    }

    #[test]
    fn a_collector_serves_the_names_that_the_controller_serves() {
        for Definition { name, kind, .. } in definitions::ALL {
            let (told, unit) = told_name(name, *kind);
            assert_eq!(fetched_name(&told, unit, *kind), *name);
        }
    }

    #[test]
    fn names_and_units_are_those_of_opentelemetry() {
        for (name, kind, expected) in [
            ("fwx_dropped_packets_total", Kind::Counter, ("fwx.dropped_packets", "")),
            ("fwx_bytes_total", Kind::Counter, ("fwx.bytes", "By")),
            ("fwx_flows", Kind::Gauge, ("fwx.flows", "")),
            ("fwx_sweep_timestamp_seconds", Kind::Gauge, ("fwx.sweep_timestamp_seconds", "s")),
            ("process_resident_memory_bytes", Kind::Gauge, ("process.resident_memory_bytes", "By")),
        ] {
            let (told, unit) = told_name(name, kind);
            assert_eq!((told.as_str(), unit), expected);
        }
    }

    #[test]
    fn a_counter_keeps_its_start_until_it_falls() {
        let mut readings = Readings::default();
        let drops = |values: &[(&str, f64)]| metric("fwx_a_total", Kind::Counter, values);
        let first = read(&mut readings, drops(&[("x", 5.0)]), 100);
        assert_eq!(points(&first), [(100, 100, 5.0)], "nobody knows since when");
        let second = read(&mut readings, drops(&[("x", 5.0), ("y", 2.0)]), 200);
        assert_eq!(points(&second), [(100, 200, 5.0), (100, 200, 2.0)]);
        let third = read(&mut readings, drops(&[("x", 1.0), ("y", 3.0)]), 300);
        assert_eq!(points(&third), [(200, 300, 1.0), (100, 300, 3.0)]);
        let fourth = read(&mut readings, drops(&[("y", 3.0)]), 400);
        assert_eq!(points(&fourth), [(100, 400, 3.0)]);
        assert_eq!(readings.counters.len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn a_gauge_has_a_value_and_no_start() {
        let told = read(&mut Readings::default(), metric("fwx_a", Kind::Gauge, &[("x", 0.5)]), 9);
        let Some(Data::Gauge(Gauge { data_points })) = told.data else { panic!("no gauge") };
        assert_eq!(data_points[0].start_time_unix_nano, 0);
        assert_eq!(data_points[0].value, Some(Value::AsDouble(0.5)));
        assert_eq!(data_points[0].attributes[0].key, "reason");
    }

    #[test]
    fn what_has_no_values_is_not_told() {
        let none = metric("fwx_a", Kind::Gauge, &[]);
        let request = Readings::default().request(&Resource::default(), vec![none], 1);
        assert!(request.resource_metrics[0].scope_metrics[0].metrics.is_empty());
    }
}
