//! From bytes to a conversation.
//!
//! The first line says how it is delivered: settings, then steps of the network, each taken from as many
//! bytes as it needs. An `@` alone stands for nothing out of the ordinary. What follows the line end is what
//! is said, byte for byte: after `>>>` by the client, after `<<<` by the server. So words of the protocol stand in
//! the input as they do in the stream, where the fuzzer can find and change them, and a seed is text.

use arbitrary::{Arbitrary, Result, Unstructured};
use firewall_common::{
    filter::parser::Scene,
    flow::Direction,
    policy::{Mode, Profile},
};

/// A conversation and how it is read and delivered.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) settings: Settings,
    /// What the network does, until there is nothing left to do it with.
    pub(crate) network: Vec<Step>,
    /// What one of the ends says before the other one speaks.
    pub(crate) turns: Vec<(Direction, Vec<u8>)>,
}

/// How it is read.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) profile: Profile,
    /// It was not seen from its SYNs.
    pub(crate) joining: bool,
    /// What is known besides the bytes, as seen from each direction.
    pub(crate) scenes: [Scene; 2],
}

/// What the network does with the next bytes of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A segment of `len` bytes.
    Segment {
        /// How many.
        len: usize,
    },
    /// The same, and it begins `back` bytes earlier, with what was sent before.
    Overlap {
        /// How far back.
        back: usize,
        /// How many bytes are new.
        len: usize,
    },
    /// The same, and what it repeats is not what was sent before.
    Contradiction {
        /// How far back.
        back: usize,
        /// How many bytes are new.
        len: usize,
    },
    /// A segment of `len` bytes is lost.
    Loss {
        /// How many.
        len: usize,
    },
    /// A segment of `len` bytes comes behind the one that follows it.
    Late {
        /// How many.
        len: usize,
    },
}

impl Conversation {
    /// Makes a conversation of anything.
    pub(crate) fn new(input: &[u8]) -> Self {
        let (head, text) = match input.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&input[..end], &input[end + 1..]),
            None => (&[][..], input),
        };
        let mut head = Unstructured::new(head);
        let settings = Settings::arbitrary(&mut head).expect("zeros stand in for what is missing");
        let network = std::iter::from_fn(|| {
            (!head.is_empty()).then(|| Step::arbitrary(&mut head).expect("as above"))
        });
        Self { settings, network: network.collect(), turns: turns(text) }
    }
}

impl<'a> Arbitrary<'a> for Settings {
    /// Each setting is a bit, so that one byte says which are out of the ordinary.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let bits: u8 = bytes.arbitrary()?;
        let is_set = |bit: u8| bits >> bit & 1 == 1;
        let commands = if is_set(5) { bytes.arbitrary()? } else { u64::MAX };
        let (version, client, server) = if is_set(4) {
            (6, [0xfd, 0, 0, 2], [0xfd, 0, 0, 3])
        } else {
            let [client, server] = [[10, 1, 0, 2], [10, 2, 0, 2]].map(u32::from_ne_bytes);
            (4, [client, 0, 0, 0], [server, 0, 0, 0])
        };
        let scene = Scene {
            now: 1_000_000_000,
            commands,
            version,
            translated: u32::from(is_set(3)),
            ..Scene::default()
        };
        Ok(Self {
            mode: if is_set(0) { Mode::Monitor } else { Mode::Enforce },
            profile: if is_set(1) { Profile::Strict } else { Profile::Standard },
            joining: is_set(2),
            scenes: [
                Scene { speaker: [client; 2], listener: [server; 2], ..scene },
                Scene { speaker: [server; 2], listener: [client; 2], ..scene },
            ],
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let kind = u8::arbitrary(bytes)? % 5;
        let len = 1 + usize::from(u8::arbitrary(bytes)?);
        let mut back = || Ok(usize::from(u8::arbitrary(bytes)?));
        Ok(match kind {
            0 => Self::Segment { len },
            1 => Self::Overlap { back: back()?, len },
            2 => Self::Contradiction { back: back()?, len },
            3 => Self::Loss { len },
            _ => Self::Late { len },
        })
    }
}

impl Step {
    /// A step that takes and changes nothing: whatever comes of it, the receiver reads the same.
    pub(crate) const fn honest(self) -> Self {
        match self {
            Self::Segment { .. } | Self::Overlap { .. } => self,
            Self::Contradiction { back, len } => Self::Overlap { back, len },
            Self::Loss { len } | Self::Late { len } => Self::Segment { len },
        }
    }
}

fn turns(mut text: &[u8]) -> Vec<(Direction, Vec<u8>)> {
    const MARK: usize = 3;
    let mut turns = Vec::new();
    let mut speaker = Direction::Original;
    loop {
        let mark = text.windows(MARK).position(|word| matches!(word, b">>>" | b"<<<"));
        let said = &text[..mark.unwrap_or(text.len())];
        if !said.is_empty() {
            turns.push((speaker, said.to_vec()));
        }
        let Some(mark) = mark else { return turns };
        speaker = if text[mark] == b'>' { Direction::Original } else { Direction::Reply };
        text = &text[mark + MARK..];
    }
}
