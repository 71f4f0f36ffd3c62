//! `fwx conn`: looking at connections, and ending them by hand. All of it works on the pinned tables and needs
//! no controller; one that runs is told of what was ended.

mod flush;
mod kill;
mod list;
mod number;
mod publish;
mod raw;
mod reset;
mod select;
mod target;
mod view;

pub use flush::{Flushed, flush};
pub use kill::{Killed, kill};
pub use list::{Listing, Relations, Sort, children, list, top};
pub use reset::{Reset, resets};
pub use select::{Criteria, Selection};
pub use target::{Target, find};
pub use view::{Details, Holder, Row, View, Viewer};
