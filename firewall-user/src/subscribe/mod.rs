//! Events for whoever asks: the controller's socket, both ends of it.
//!
//! A subscriber sends one line of JSON, a [`Request`], and gets one line of JSON for each event: those that are kept,
//! then, if it follows, those that come. docs/events.md says it for programs that are none of fwx's.

mod access;
mod ask;
mod client;
mod connect;
mod past;
mod protocol;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod writer;

pub use access::Access;
pub use ask::exports;
pub use client::Events;
pub(crate) use connect::connect;
pub use protocol::{Answer, Request};
pub use server::serve;
pub use socket::listen;
