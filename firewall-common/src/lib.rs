//! What the kernel programs and the controller share.
//!
//! Everything here is plain data and pure functions over it, so that the same code runs in the kernel,
//! in the controller and in the host's unit tests. Nothing here knows of maps, hooks or system calls.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod bound;
pub mod classifier;
pub mod cookie;
pub mod crossing;
pub mod datagram;
pub mod essential;
pub mod event;
pub mod filter;
pub mod flow;
pub mod layout;
pub mod limit;
pub mod martian;
pub mod number;
#[cfg(feature = "user")]
mod pod;
pub mod policy;
pub mod prohibited;
pub mod reason;
pub mod reset;
pub mod shadow;
pub mod shortcut;
pub mod spoofing;
pub mod step;
pub mod tally;
pub mod wire;
pub mod words;
