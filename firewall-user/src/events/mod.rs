//! Events on their way from the controller to whoever wants some of them.

mod moment;
mod printable;
mod selection;
mod settings;

pub use moment::Moment;
pub use printable::printable;
pub use selection::{Criteria, Refusal, Selection};
pub use settings::EventSettings;
