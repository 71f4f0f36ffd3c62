//! What is measured: which program, on which packet, and what has to come of it.

use firewall_common::reason::Reason;
use firewall_user::object::{TC_INGRESS, XDP_INGRESS};
use serde::Serialize;

/// A window of 1 GiB holds so many segments of media, and more.
const MEDIA_MAX: u32 = 300_000;
/// Segments that a filter reads byte by byte: enough for a figure.
pub(super) const CONTROL_MAX: u32 = 20_000;
/// Flows that begin together: a small part of what the tables hold.
pub(super) const FLOWS_MAX: u32 = 20_000;
/// Datagrams: half of what the table of fragments holds.
pub(super) const DATAGRAMS_MAX: u32 = 2_048;

/// Where the programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    pub(crate) const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }

    /// What a program returns for a packet that passes: `XDP_PASS`, `TC_ACT_UNSPEC`.
    pub(crate) const fn pass(self) -> u32 {
        match self {
            Self::Xdp => 2,
            Self::Tc => u32::MAX,
        }
    }

    /// What it returns for one that is dropped: `XDP_DROP`, `TC_ACT_SHOT`.
    pub(crate) const fn drop(self) -> u32 {
        match self {
            Self::Xdp => 1,
            Self::Tc => 2,
        }
    }
}

/// The programs of the object that take part, at either hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Empty,
    Parse,
    Lookup,
    Ingress,
    /// On frames that differ from run to run: nothing else, the lookup, and the firewall.
    StepEmpty,
    StepLookup,
    StepIngress,
}

impl Program {
    pub(crate) fn name(self, hook: Hook) -> &'static str {
        let [xdp, tc] = match self {
            Self::Empty => ["bench_empty_xdp", "bench_empty_tc"],
            Self::Parse => ["bench_parse_xdp", "bench_parse_tc"],
            Self::Lookup => ["bench_lookup_xdp", "bench_lookup_tc"],
            Self::Ingress => [XDP_INGRESS, TC_INGRESS],
            Self::StepEmpty => ["bench_step_empty_xdp", "bench_step_empty_tc"],
            Self::StepLookup => ["bench_step_lookup_xdp", "bench_step_lookup_tc"],
            Self::StepIngress => ["bench_step_xdp", "bench_step_tc"],
        };
        match hook {
            Hook::Xdp => xdp,
            Hook::Tc => tc,
        }
    }

    /// What does nothing with the same frames: the difference is this program's work.
    pub(crate) fn idle(self) -> Self {
        match self {
            Self::Empty | Self::Parse | Self::Lookup | Self::Ingress => Self::Empty,
            Self::StepEmpty | Self::StepLookup | Self::StepIngress => Self::StepEmpty,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// A program that does nothing.
    Empty,
    /// The parser.
    Parse,
    /// The parser and one lookup: the floor.
    Floor,
    /// The same, on packets of all flows in the table.
    FloorScattered,
    /// An ACK without payload of an established connection.
    Ack,
    /// The same, on packets of all flows in the table.
    AckScattered,
    /// A full segment of an established connection that belongs to no protocol of the policy.
    Data,
    /// The same of a protocol that no filter is bound to.
    DataUnbound,
    /// An ACK of no connection.
    NotSyn,
    /// A SYN that the policy denies.
    Denied,
    /// A SYN that begins a connection.
    Syn,
    /// The SYN and ACK that answers one.
    SynAck,
    /// The ACK that completes one: its flow moves to the table that never evicts.
    Completion,
    /// A datagram of an exchange that has an answer.
    Datagram,
    /// A datagram that begins one.
    NewDatagram,
    /// A datagram's first fragment.
    FirstFragment,
    /// The one behind it.
    LaterFragment,
    /// The next segment of a stream, one interleaved frame, of a protocol that no filter is bound to.
    MediaUnbound,
    /// The same, read by the RTSP filter, which enforces.
    Media,
    /// A request that the filter reads.
    Request,
    /// A reply that the filter reads.
    Reply,
}

/// What must have come of all runs, or something else was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every run's packet was dropped for this reason; otherwise every one passed, for none.
    pub(crate) refused: Option<Reason>,
    /// Every run's packet began a flow; otherwise none did.
    pub(crate) opens: bool,
    /// Every one completed a flow; otherwise none did.
    pub(crate) completes: bool,
    /// Every one was read by the filter, without a finding; otherwise none was.
    pub(crate) is_read: bool,
}

impl Subject {
    pub(crate) const ALL: [Self; 21] = [
        Self::Empty,
        Self::Parse,
        Self::Floor,
        Self::FloorScattered,
        Self::Ack,
        Self::AckScattered,
        Self::Data,
        Self::DataUnbound,
        Self::NotSyn,
        Self::Denied,
        Self::Syn,
        Self::SynAck,
        Self::Completion,
        Self::Datagram,
        Self::NewDatagram,
        Self::FirstFragment,
        Self::LaterFragment,
        Self::MediaUnbound,
        Self::Media,
        Self::Request,
        Self::Reply,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty program",
            Self::Parse => "parse",
            Self::Floor => "parse and lookup (floor)",
            Self::FloorScattered => "parse and lookup, any flow (floor)",
            Self::Ack => "fwx: established ACK",
            Self::AckScattered => "fwx: established ACK, any flow",
            Self::Data => "fwx: established data",
            Self::DataUnbound => "fwx: data, filter unbound",
            Self::NotSyn => "fwx: not a SYN, dropped",
            Self::Denied => "fwx: SYN, denied by the policy",
            Self::Syn => "fwx: new SYN",
            Self::SynAck => "fwx: SYN and ACK that answers",
            Self::Completion => "fwx: ACK that completes",
            Self::Datagram => "fwx: UDP, established",
            Self::NewDatagram => "fwx: UDP, new",
            Self::FirstFragment => "fwx: first fragment",
            Self::LaterFragment => "fwx: later fragment",
            Self::MediaUnbound => "fwx: media, filter unbound",
            Self::Media => "fwx: media, read by the filter",
            Self::Request => "fwx: RTSP request, read",
            Self::Reply => "fwx: RTSP reply, read",
        }
    }

    pub(crate) fn program(self) -> Program {
        match self {
            Self::Empty => Program::Empty,
            Self::Parse => Program::Parse,
            Self::Floor => Program::Lookup,
            Self::FloorScattered => Program::StepLookup,
            Self::Ack | Self::Data | Self::DataUnbound => Program::Ingress,
            Self::NotSyn | Self::Denied | Self::Datagram => Program::Ingress,
            _ => Program::StepIngress,
        }
    }

    /// Whether each run's packet is the next one of a stream.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::MediaUnbound | Self::Media | Self::Request | Self::Reply)
    }

    /// What its cost is a multiple of.
    pub(crate) fn floor(self) -> Self {
        match self {
            Self::FloorScattered | Self::AckScattered => Self::FloorScattered,
            _ => Self::Floor,
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        let passes = Outcome::default();
        match self {
            Self::NotSyn => Outcome { refused: Some(Reason::TcpNotSyn), ..passes },
            Self::Denied => Outcome { refused: Some(Reason::PolicyRulesDenied), ..passes },
            Self::Syn | Self::NewDatagram => Outcome { opens: true, ..passes },
            Self::Completion => Outcome { completes: true, ..passes },
            Self::Media | Self::Request | Self::Reply => Outcome { is_read: true, ..passes },
            _ => passes,
        }
    }

    /// How often the program may run at a time, of `repeat` times: where each run leaves something behind, its place
    /// is bounded.
    pub(crate) fn runs(self, repeat: u32) -> u32 {
        match self {
            Self::Media | Self::MediaUnbound => repeat.min(MEDIA_MAX),
            Self::Request | Self::Reply => repeat.min(CONTROL_MAX),
            Self::Syn | Self::SynAck | Self::Completion | Self::NewDatagram => {
                repeat.min(FLOWS_MAX)
            }
            Self::FirstFragment | Self::LaterFragment => repeat.min(DATAGRAMS_MAX),
            _ => repeat,
        }
    }

    /// How often it runs so often in a round: what a call of the test-run takes, up to 0.3 ms, is spread over few runs
    /// where their number is bounded.
    pub(crate) fn batches(self) -> u32 {
        match self {
            Self::FirstFragment | Self::LaterFragment => 10,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_are_multiples_of_is_a_floor() {
        for subject in Subject::ALL {
            let floor = subject.floor();
            assert_eq!(floor.floor(), floor);
            assert!([Program::Lookup, Program::StepLookup].contains(&floor.program()));
        }
    }

    #[test]
    fn every_subject_is_listed_once() {
        for (index, subject) in Subject::ALL.iter().enumerate() {
            assert_eq!(*subject as usize, index);
        }
    }
}
