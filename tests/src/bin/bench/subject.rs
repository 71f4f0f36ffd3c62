//! What is measured: which program, at which hook, on which packet.

use firewall_user::object::{TC_INGRESS, XDP_INGRESS};
use serde::Serialize;

use crate::conversation::{Conversation, Service};

/// Where the programs run.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
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
    pub(crate) fn pass(self) -> u32 {
        match self {
            Self::Xdp => 2,
            Self::Tc => u32::MAX,
        }
    }
}

/// A window of 1 GiB holds so many segments of media, and more.
const MEDIA_RUNS_MAX: u32 = 300_000;

/// One line of the table.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// A program that does nothing.
    Empty,
    /// The parser.
    Parse,
    /// The parser and one lookup: the floor.
    ParseAndLookup,
    /// fwx: an ACK without payload of an established connection.
    EstablishedAck,
    /// fwx: a full segment of an established connection that belongs to no protocol of the policy.
    EstablishedData,
    /// fwx: the same of a protocol that no filter is bound to.
    EstablishedDataUnbound,
    /// fwx: the next segment of a stream, one interleaved frame, of a protocol that no filter is bound to.
    MediaUnbound,
    /// fwx: the same, read by the RTSP filter, which enforces.
    MediaFiltered,
}

impl Subject {
    /// The empty program first and the floor third: the others are compared with these.
    pub(crate) const ALL: [Self; 8] = [
        Self::Empty,
        Self::Parse,
        Self::ParseAndLookup,
        Self::EstablishedAck,
        Self::EstablishedData,
        Self::EstablishedDataUnbound,
        Self::MediaUnbound,
        Self::MediaFiltered,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty program",
            Self::Parse => "parse",
            Self::ParseAndLookup => "parse and lookup (floor)",
            Self::EstablishedAck => "fwx: established ACK",
            Self::EstablishedData => "fwx: established data",
            Self::EstablishedDataUnbound => "fwx: data, filter unbound",
            Self::MediaUnbound => "fwx: media, filter unbound",
            Self::MediaFiltered => "fwx: media, read by the filter",
        }
    }

    /// The program's name in the object.
    pub(crate) fn program(self, hook: Hook) -> &'static str {
        match (self, hook) {
            (Self::Empty, Hook::Xdp) => "bench_empty_xdp",
            (Self::Empty, Hook::Tc) => "bench_empty_tc",
            (Self::Parse, Hook::Xdp) => "bench_parse_xdp",
            (Self::Parse, Hook::Tc) => "bench_parse_tc",
            (Self::ParseAndLookup, Hook::Xdp) => "bench_lookup_xdp",
            (Self::ParseAndLookup, Hook::Tc) => "bench_lookup_tc",
            (Self::MediaUnbound | Self::MediaFiltered, Hook::Xdp) => "bench_stream_xdp",
            (Self::MediaUnbound | Self::MediaFiltered, Hook::Tc) => "bench_stream_tc",
            (_, Hook::Xdp) => XDP_INGRESS,
            (_, Hook::Tc) => TC_INGRESS,
        }
    }

    /// Which kind of connection the packet belongs to.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::EstablishedDataUnbound => Service::Unbound,
            Self::MediaUnbound => Service::MediaUnbound,
            Self::MediaFiltered => Service::MediaFiltered,
            _ => Service::Unnamed,
        }
    }

    /// The packet.
    pub(crate) fn frame(self, conversation: Conversation) -> Vec<u8> {
        match self {
            Self::Empty | Self::Parse | Self::ParseAndLookup | Self::EstablishedAck => {
                conversation.acknowledgment()
            }
            Self::EstablishedData | Self::EstablishedDataUnbound => conversation.data(),
            Self::MediaUnbound | Self::MediaFiltered => conversation.before_media(),
        }
    }

    /// How often the program may run at a time: of `repeat` times where each run takes a new part of a window.
    pub(crate) fn runs(self, repeat: u32) -> u32 {
        match self {
            Self::MediaUnbound | Self::MediaFiltered => repeat.min(MEDIA_RUNS_MAX),
            _ => repeat,
        }
    }
}
