//! Numbers for monitoring: what they are called, what they mean, and what they are now.
//!
//! Names follow Prometheus: they begin with `fwx_`, end in their unit, and counters in `_total`. No label holds an
//! address. `process_…` are those that every program has which Prometheus reads.
//!
//! [`definitions`] is the list of them all, and [`Source`] reads them.

pub mod definitions;

mod census;
mod controller;
mod events;
mod kernel;
mod process;
mod source;

pub use definitions::Definition;
pub use source::{Parts, Source};

/// One metric with all its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its whole name, such as `fwx_dropped_packets_total`.
    pub name: &'static str,
    /// What it counts or measures, a sentence.
    pub help: &'static str,
    /// Whether it only ever rises.
    pub kind: Kind,
    /// Its values; none, if there is nothing that it could be about.
    pub samples: Vec<Sample>,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only ever rises, until the firewall is brought up anew.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values of what tells it from others of its metric.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}
