//! TCP options as an end writes them (RFC 9293 §3.1, RFC 7323, RFC 2018).

const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
/// Larger shifts are taken for this one (RFC 7323 §2.3).
pub(super) const MAX_SCALE: u8 = 14;

/// What an end offers in its SYN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    /// The largest segment that it takes, in bytes.
    pub(super) mss: u16,
    /// The shift of its windows.
    pub(super) scale: Option<u8>,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
}

/// The options of a SYN.
pub(super) fn of_syn(offers: Offers, times: (u32, u32)) -> Vec<u8> {
    let [high, low] = offers.mss.to_be_bytes();
    let mut options = vec![MSS, 4, high, low];
    if let Some(shift) = offers.scale {
        options.extend([NOP, WINDOW_SCALE, 3, shift]);
    }
    if offers.sack {
        options.extend([NOP, NOP, SACK_PERMITTED, 2]);
    }
    if offers.timestamps {
        options.extend(timestamps(times));
    }
    options
}

/// The options of any other segment.
pub(super) fn of_segment(times: Option<(u32, u32)>, sack: Option<(u32, u32)>) -> Vec<u8> {
    let mut options = Vec::new();
    if let Some(times) = times {
        options.extend(timestamps(times));
    }
    if let Some((from, to)) = sack {
        options.extend([NOP, NOP, SACK, 10]);
        options.extend(from.to_be_bytes());
        options.extend(to.to_be_bytes());
    }
    options
}

fn timestamps((own, echo): (u32, u32)) -> Vec<u8> {
    [&[NOP, NOP, TIMESTAMPS, 10][..], &own.to_be_bytes(), &echo.to_be_bytes()].concat()
}
