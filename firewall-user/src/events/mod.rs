//! Events on their way from the controller to whoever wants some of them.

mod columns;
mod compact;
mod fields;
mod isa;
mod moment;
mod printable;
mod printer;
mod schema;
mod selection;
mod sentence;
mod settings;
mod words;
mod write;

#[cfg(test)]
mod tests;

pub use compact::Compact;
pub use fields::Fields;
pub use isa::Isa;
pub use moment::Moment;
pub use printable::{printable, printable_json};
pub use printer::Printer;
pub use schema::schema;
pub use selection::{Criteria, Refusal, Selection};
pub use sentence::sentence;
pub use settings::EventSettings;
pub use words::{endpoint, short_kind, short_reason};
pub use write::{PacketFile, create_capture};
