//! `fwx why`: what was decided about an address, a connection or an event, by what, and what would change it.
//!
//! A pure function over events and what else is known: [`read`] takes events from lines of JSON, [`Question`] says which
//! of them are asked about, `join` finds what belongs to these, `group` tells causes from what they caused, and
//! [`Story`] is the answer, which `text` puts into words. What each reason means and what ends it is in [`advice`].
//!
//! What is not known is said: the kernel holds events back beyond a rate, and only so many are remembered.

mod admit;
pub mod advice;
mod clean;
mod clues;
mod context;
mod group;
mod held_back;
mod index;
mod join;
mod question;
mod reading;
mod remedy;
mod story;
mod tell;
mod text;
mod way;

#[cfg(test)]
mod tests;

pub use context::{Context, Origin};
pub use held_back::HeldBack;
pub use question::Question;
pub use reading::{Lines, read};
pub use remedy::Remedy;
pub use story::{Cause, Consequence, Objection, Seen, Story};
pub use way::{Step, Way};
