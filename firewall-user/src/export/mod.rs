//! Events and metrics on their way to other programs and machines.
//!
//! Each export reads from a [feed](crate::hub::Feed) of its own, in a task of its own: one whose receiver is slow or
//! dead loses its own events, which are counted, and holds up nobody.

mod batch;
mod board;
mod clock;
mod connection;
mod exposition;
mod failures;
mod fields;
mod health;
mod ipfix;
mod json;
mod otlp;
pub mod prometheus;
mod settings;
mod severity;
mod supervisor;
mod syslog;
mod waiting;

pub use board::{Board, ExportStatus};
pub use failures::Failures;
pub use health::{Condition, Health};
pub use otlp::Collector;
pub use settings::{Endpoint, Export, Facility, Target, Transport};
pub use severity::Severity;
pub use supervisor::Exports;
