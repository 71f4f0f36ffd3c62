//! `fwx conn`: looking at connections, and ending them by hand. All of it works on the pinned tables and needs
//! no controller; one that runs is told of what was ended.

mod end;
mod first;
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

pub(crate) use end::{Finder, Teller};
pub use end::{Killed, Telling, end};
pub(crate) use first::First;
pub use flush::{Flushed, flush};
pub use kill::kill;
pub use list::{Listing, Relations, Sort, children, list, top};
pub(crate) use number::Numbers;
pub use reset::{Reset, resets};
pub use select::{Criteria, Selection};
pub use target::{Target, find};
pub(crate) use view::duration;
pub use view::{Details, Ends, Holder, Row, View, Viewer};
