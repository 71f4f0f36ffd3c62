//! Flow records to a collector, by IPFIX (RFC 7011): one for each flow that ended, with both its directions (RFC 5103).
//!
//! By UDP or TCP; SCTP, which RFC 7011 has besides, is hardly found. What is in a record is in `template`.

mod end;
mod flow;
mod message;
mod template;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use firewall_common::event::EventKind;

use self::{flow::Flow, message::Session};
use super::{Endpoint, Health, Transport, batch, clock, connection::Connection};
use crate::{events::Criteria, hub::Feed};

/// How long a record waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How often a message is sent of which it is not known whether it arrived whole, on a connection each.
const ATTEMPTS: u32 = 5;

/// The events that records are made of.
pub(super) fn criteria() -> Criteria {
    let kinds = [EventKind::ConnectionClosed, EventKind::ConnectionKilled];
    Criteria { event: kinds.map(|kind| kind.name().to_owned()).into(), ..Criteria::default() }
}

/// Sends a record of each flow whose end `feed` tells to the collector at `to`, until the feed ends. `domain`: the number
/// of the observation domain.
///
/// # Errors
///
/// `to` is no host.
pub(super) async fn run(
    to: Endpoint,
    domain: u32,
    feed: &mut Feed,
    health: Arc<Health>,
) -> Result<()> {
    let Endpoint::Host { transport, .. } = to else {
        bail!("cannot send flow records to {to}: they go by UDP or TCP");
    };
    let connection = Connection::new(to, Arc::clone(&health));
    let session = Session::new(transport, domain);
    Sender { connection, number: None, session, transport, domain, health }.run(feed, LINGER).await;
    Ok(())
}

struct Sender {
    connection: Connection,
    /// Of the connection that the session is on.
    number: Option<u64>,
    session: Session,
    transport: Transport,
    domain: u32,
    health: Arc<Health>,
}

impl Sender {
    async fn run(&mut self, feed: &mut Feed, linger: Duration) {
        while let Some(batch) = batch::gather(feed, linger).await {
            let mut flows = Vec::with_capacity(batch.len());
            for told in batch {
                match Flow::of(&told.event) {
                    Ok(flow) => flows.extend(flow),
                    Err(error) => {
                        self.health.failed(1, format!("event {}: {error}", told.event.event_id));
                    }
                }
            }
            self.send(&flows).await;
        }
    }

    /// Sends the records of all `flows`. Those that cannot be sent for a while are counted and left.
    async fn send(&mut self, mut flows: &[Flow]) {
        let mut attempts = 0;
        while !flows.is_empty() {
            let Some(number) = self.connection.connected().await else {
                let failure = self.health.condition().failure.unwrap_or_default();
                self.health.failed(flows.len() as u64, failure);
                return;
            };
            if self.number != Some(number) {
                self.number = Some(number);
                self.session = Session::new(self.transport, self.domain);
            }
            let message = self.session.message(flows, seconds());
            attempts += 1;
            let count = message.records as u64;
            match self.connection.write(&message.bytes, count).await {
                Ok(()) => {
                    self.session.sent(&message);
                    self.health.sent(count);
                }
                Err(_) if attempts < ATTEMPTS => continue,
                Err(error) => self.health.failed(count, error.to_string()),
            }
            flows = &flows[message.records..];
            attempts = 0;
        }
    }
}

/// The time as messages have it, which ends in 2106.
fn seconds() -> u32 {
    (clock::now_ns() / 1_000_000_000) as u32
}
