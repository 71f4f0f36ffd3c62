//! Spoils conversations: what a network, a broken end or an attacker may make of them.
//!
//! Addresses and ports stay, so that the segment belongs to the conversation, and checksums are made
//! anew, so that both trackers look at it.

use firewall_common::wire::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};

use super::{Conversation, Random, Segment};

/// A segment is delayed for this long at most. All delays of a conversation together stay below the
/// shortest timeout of both trackers, 10 s: the kernel's does not run on the packets' own time.
const LONGEST_DELAY: u64 = 2_000_000_000;
const MOST_MUTATIONS: u64 = 3;

/// `conversation` with one to three things wrong.
pub fn mutate(conversation: &Conversation) -> Conversation {
    let mut spoiled = conversation.clone();
    // Other numbers than those that the conversation was made from.
    let mut random = Random::new(!conversation.seed);
    for _ in 0..random.between(1, MOST_MUTATIONS) {
        if spoiled.segments.is_empty() {
            break;
        }
        mutate_once(&mut spoiled.segments, &mut random);
    }
    spoiled
}

fn mutate_once(segments: &mut Vec<Segment>, random: &mut Random) {
    let index = random.index(segments.len());
    match random.between(0, 99) {
        0..=9 if index + 1 < segments.len() => {
            segments.swap(index, index + 1);
            mark(&mut segments[index], "overtakes");
            keep_time(segments);
        }
        10..=19 => {
            let place = later_place(segments, index, random);
            let mut copy = segments[index].clone();
            mark(&mut copy, "a copy");
            segments.insert(place, copy);
            keep_time(segments);
        }
        20..=29 => drop(segments.remove(index)),
        30..=39 => {
            let place = later_place(segments, index, random) - 1;
            let mut late = segments.remove(index);
            mark(&mut late, "delayed");
            late.at += random.between(1, LONGEST_DELAY);
            segments.insert(place, late);
            keep_time(segments);
        }
        40..=69 => corrupt(&mut segments[index], random),
        // The segment comes as it was, and a forged one after it.
        _ => {
            let place = later_place(segments, index, random);
            let mut forged = segments[index].clone();
            corrupt(&mut forged, random);
            mark(&mut forged, "forged");
            segments.insert(place, forged);
            keep_time(segments);
        }
    }
}

/// A place behind `index`, near it more often than far.
fn later_place(segments: &[Segment], index: usize, random: &mut Random) -> usize {
    let distance = if random.chance(70) { random.between(1, 4) } else { random.between(1, 30) };
    (index + distance as usize).min(segments.len())
}

fn corrupt(segment: &mut Segment, random: &mut Random) {
    match random.between(0, 3) {
        0 => {
            segment.seq = shifted(segment.seq, random);
            mark(segment, "other seq");
        }
        1 => {
            segment.ack = shifted(segment.ack, random);
            mark(segment, "other ack");
        }
        2 => {
            segment.window = random.pick(&[0, 1, 0xffff, random.clone().any() as u16]);
            mark(segment, "other window");
        }
        _ => {
            segment.flags = match random.between(0, 4) {
                0..=2 => segment.flags ^ random.pick(&[FIN, SYN, RST, PSH, ACK, URG]),
                3 => random.pick(&[SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK]),
                _ => random.any() as u8,
            };
            mark(segment, "other flags");
        }
    }
}

fn shifted(number: u32, random: &mut Random) -> u32 {
    let distance = match random.between(0, 4) {
        0 => random.between(1, 10),
        1 => random.between(1, 1_460),
        2 => random.between(1, 70_000),
        3 => random.between(1 << 30, 1 << 31),
        _ => random.any(),
    } as u32;
    if random.chance(50) { number.wrapping_add(distance) } else { number.wrapping_sub(distance) }
}

fn mark(segment: &mut Segment, what: &str) {
    segment.note += &format!(" [{what}]");
}

/// Makes the times ascend again.
fn keep_time(segments: &mut [Segment]) {
    let mut now = 0;
    for segment in segments {
        now = segment.at.max(now);
        segment.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::converse, *};
    use crate::replaying::Family;

    #[test]
    fn mutations_are_those_of_the_seed_and_keep_the_order_of_time() {
        for seed in 0..500 {
            let conversation = converse(seed, Family::V6);
            let text = |conversation: &Conversation| format!("{conversation:?}");
            let spoiled = mutate(&conversation);
            assert_eq!(text(&spoiled), text(&mutate(&conversation)));
            assert!(spoiled.segments.is_sorted_by_key(|segment| segment.at), "seed {seed}");
        }
    }

    /// The gap before a segment is what a tracker's timeout runs on.
    #[test]
    fn no_pause_reaches_a_timeout() {
        const SHORTEST_TIMEOUT: u64 = 10_000_000_000;
        for seed in 0..2_000 {
            let spoiled = mutate(&converse(seed, Family::V4));
            for pair in spoiled.segments.windows(2) {
                assert!(pair[1].at - pair[0].at < SHORTEST_TIMEOUT, "seed {seed}");
            }
        }
    }
}
