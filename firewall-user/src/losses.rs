//! Events that nobody got to read: how many, of which ring and reason, and why.

use anyhow::Result;
use aya::maps::PerCpuArray;
use firewall_common::{
    event::{Ring, Untold},
    reason::Reason,
};
use serde::Serialize;

use crate::tables::Tables;

/// Events of one ring and reason, since the firewall was brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The ring that they were for.
    pub ring: Ring,
    /// Their reason; [`Reason::None`] of connections that were opened.
    pub reason: Reason,
    /// How many, all CPUs together.
    pub untold: Untold,
}

/// What went untold, where anything did, by ring and reason. It needs no controller.
pub fn losses(tables: &Tables) -> Result<Vec<Loss>> {
    let table: PerCpuArray<_, Untold> = tables.open("UNTOLD")?;
    let mut losses = Vec::new();
    for ring in Ring::ALL {
        for &reason in Reason::ALL {
            let values = table.get(&ring.untold_index(reason as u8), 0)?;
            let untold = sum(values.iter());
            if !untold.is_nothing() {
                losses.push(Loss { ring, reason, untold });
            }
        }
    }
    Ok(losses)
}

/// All of them together.
pub fn total(losses: &[Loss]) -> Untold {
    sum(losses.iter().map(|loss| &loss.untold))
}

/// The same, as `fwx status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct LossStatus {
    /// `kills` or `events`.
    pub ring: &'static str,
    /// Name of the result code; none of connections that were opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Held back by the rate limit.
    pub suppressed: u64,
    /// Found no room in the ring.
    pub lost: u64,
    /// No controller was there to hear them.
    pub unheard: u64,
}

impl LossStatus {
    pub(crate) fn of(loss: &Loss) -> Self {
        let Loss { ring, reason, untold: Untold { held_back, lost, unheard } } = *loss;
        Self {
            ring: ring.name(),
            reason: (reason != Reason::None).then(|| reason.name()),
            suppressed: held_back,
            lost,
            unheard,
        }
    }
}

/// What a controller has told of them, so that it tells of each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Vec<Loss>);

impl Told {
    /// Nothing more is to be told of what was lost up to here.
    pub(crate) fn up_to_now(tables: &Tables) -> Result<Self> {
        Ok(Self(losses(tables)?))
    }

    /// Those that nobody got since last asked: a sentence for each ring and reason. A CPU that came up after the controller
    /// has no ring.
    pub(crate) fn news(&mut self, now: Vec<Loss>) -> Vec<String> {
        let before = std::mem::replace(&mut self.0, now);
        let lost_before = |loss: &Loss| {
            let same = |old: &&Loss| (old.ring, old.reason) == (loss.ring, loss.reason);
            before.iter().find(same).map_or(0, |old| gone(&old.untold))
        };
        let news = self.0.iter().filter_map(|loss| {
            let lost = gone(&loss.untold).saturating_sub(lost_before(loss));
            (lost > 0).then(|| sentence(loss, lost))
        });
        news.collect()
    }
}

fn gone(untold: &Untold) -> u64 {
    untold.lost + untold.unheard
}

fn sentence(loss: &Loss, lost: u64) -> String {
    let what = match loss.reason {
        Reason::None => "connection_opened",
        reason => reason.name(),
    };
    let events = if lost == 1 { "event" } else { "events" };
    format!("ring of {}: {lost} {what} {events} found no room in it, or no ring", loss.ring.name())
}

fn sum<'a>(values: impl Iterator<Item = &'a Untold>) -> Untold {
    values.fold(Untold::default(), |sum, one| Untold {
        held_back: sum.held_back + one.held_back,
        lost: sum.lost + one.lost,
        unheard: sum.unheard + one.unheard,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(ring: Ring, reason: Reason, lost: u64) -> Loss {
        Loss { ring, reason, untold: Untold { held_back: 7, lost, unheard: 3 } }
    }

    #[test]
    fn each_loss_is_told_once() {
        let mut told = Told(vec![loss(Ring::Events, Reason::TcpNotSyn, 5)]);
        let now = vec![
            loss(Ring::Kills, Reason::ConnectionKilled, 1),
            loss(Ring::Events, Reason::None, 2),
            loss(Ring::Events, Reason::PortZero, 0),
            loss(Ring::Events, Reason::TcpNotSyn, 17),
        ];
        let news = [
            "ring of kills: 4 FWX_E_CONNECTION_KILLED events found no room in it, or no ring",
            "ring of events: 5 connection_opened events found no room in it, or no ring",
            "ring of events: 3 FWX_E_PORT_ZERO_PACKET_DROPPED events found no room in it, or no ring",
            "ring of events: 12 FWX_E_TCP_NOT_SYN_PACKET_DROPPED events found no room in it, or no ring",
        ];
        assert_eq!(told.news(now.clone()), news);
        assert_eq!(told.news(now.clone()), [""; 0]);
        let total = total(&now);
        assert_eq!((total.held_back, total.lost, total.unheard), (28, 20, 12));
    }
}
