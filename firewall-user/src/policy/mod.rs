//! The policy: what its file may say, what it means, and what the kernel's tables hold of it.
//!
//! A policy is a TOML file, with those that it includes ([`Sources`]). Its text goes through three forms, each of which can express less
//! nonsense than the one before:
//!
//! 1. the TOML document with the place of every value (`document`),
//! 2. the [`Policy`], in which each name is an index and each prefix and port is a checked number
//!    (`parse`),
//! 3. the [`Compiled`] tables, plain data for the kernel's maps (`compile`, `image`).
//!
//! Whoever holds a [`Policy`] holds a sound one: it compiles, and nothing has to be checked again.
//! Everything wrong with a file is in one [`PolicyError`], each [`Problem`] with its place.

mod anti_spoofing;
mod asymmetric;
mod builtin;
mod check;
mod compile;
mod document;
mod duration;
mod error;
mod explain;
mod exports;
mod files;
mod icmp;
mod image;
mod include;
mod lint;
mod merge;
mod model;
mod network;
mod number;
mod parse;
mod places;
mod ports;
mod read;
mod references;
mod rules;
pub mod schema;
mod source;
mod summary;
mod text;
mod tracker;
mod transport;
mod value;

pub use check::{Checked, Place};
pub use compile::{Compiled, Numbers};
pub use error::{Elsewhere, PolicyError, Problem, ProblemEntry, ProblemKind, Warnings};
pub use explain::{BadProbe, Explanation, FilterName, Mismatch, PassedOver, Probe, RuleName};
pub use files::{SourceFile, Sources};
pub use icmp::IcmpType;
pub use lint::WarningKind;
pub use model::{
    Asymmetric, FilterSettings, ITSELF, Limits, Live, MissingInterface, Network, Policy,
    PolicyRule, Protocol, SourceChecks, SourceList, TableSizes, action_name,
};
pub use summary::Summary;
pub use text::{PolicyFile, PolicyText};
pub use transport::Transport;

#[cfg(test)]
mod tests;
