//! `fwx top`: a screen that shows what passes, what is dropped, how filters are bound and what the controller tells.
//!
//! [`look`] reads the kernel's tables, in threads of their own, and [`listen`] the controller's events. [`model`] is
//! the state of the screen, a pure function of looks, events and keys; [`screen`] draws it, and [`run`] is the loop
//! that a terminal needs. Without a controller all but the log works: the tables are read through their pins.

pub mod change;
pub mod data;
pub mod drops;
pub mod filter_line;
pub mod keys;
pub mod listen;
pub mod look;
pub mod model;
pub mod once;
pub mod rates;
pub mod run;
#[cfg(test)]
mod samples;
pub mod screen;

use std::time::Duration;

use self::look::Order;

/// What is asked of the screen.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Between two looks.
    pub period: Duration,
    /// What comes first among the flows.
    pub order: Order,
    /// Which events are shown, see [`filter_line`].
    pub line: String,
}
