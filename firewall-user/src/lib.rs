//! The controller of fwx as a library: everything that the `fwx` command does.
//!
//! [`policy`] is what the administrator writes, [`object`] the kernel programs, [`instance`] where they are
//! pinned, [`attach`] how they get to an interface, [`tables`] how one talks to them, [`event`] what they
//! say, [`controller`] the process that listens, and [`replay`] the way to run them on a capture.

pub mod addresses;
pub mod apply;
pub mod attach;
pub mod attack;
pub mod batch;
pub mod binding;
pub mod bpffs;
pub mod bring_up;
pub mod capture;
pub mod census;
mod clsact;
mod comings;
pub mod command;
pub mod conn;
pub mod controller;
pub mod devices;
pub mod empty;
pub mod error;
pub mod event;
pub mod events;
pub mod existing;
pub mod export;
pub mod flows;
pub mod generation;
pub mod housekeeping;
pub mod hub;
pub mod instance;
pub mod link;
pub mod losses;
pub mod memory;
pub mod metrics;
mod namespace;
mod netlink;
pub mod object;
pub mod pinholes;
pub mod policy;
pub mod preflight;
pub mod pressure;
pub mod rejects;
pub mod renumber;
pub mod replay;
pub mod resize;
pub mod ring;
pub mod rule_counters;
pub mod rules;
mod say;
mod schema;
pub mod shadow;
pub mod shortcut;
pub mod status;
pub mod store;
pub mod subscribe;
pub mod sweep;
pub mod tables;
pub mod takeover;
pub mod top;
pub mod why;
