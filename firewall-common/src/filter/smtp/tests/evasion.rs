//! A client that does what it likes, and a server that reads on its own: no command that the policy forbids is
//! carried out unnoticed, whatever the client makes it look like, and however replies and commands cross.

use proptest::prelude::*;

use super::*;
use crate::filter::drive::{Drive, Passage};
use crate::flow::Direction;
use crate::policy::Mode;

/// Bit of VRFY, which the policy forbids.
const VRFY: u64 = 1 << 8;

/// How a server differs from others.
#[derive(Clone, Copy, Debug)]
struct Habits {
    knows_chunks: bool,
    takes_bare_lf: bool,
    answers_empty_lines: bool,
    grants_data: bool,
    grants_auth: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Commands,
    Text,
    Chunk(usize),
    /// So many lines of credentials.
    Credentials(u32),
}

/// A server as the RFCs have it.
struct Server {
    habits: Habits,
    reading: Reading,
    line: Vec<u8>,
    /// The last bytes of the text.
    end: Vec<u8>,
    replies: Vec<String>,
    was_asked_in_vain: bool,
}

impl Server {
    fn new(habits: Habits) -> Self {
        let replies = vec!["220 mx\r\n".to_owned()];
        let (line, end) = (Vec::new(), Vec::new());
        let reading = Reading::Commands;
        Self { habits, reading, line, end, replies, was_asked_in_vain: false }
    }

    fn reply(&mut self, text: &str) {
        self.replies.push(format!("{text}\r\n"));
    }

    fn read(&mut self, byte: u8) {
        match self.reading {
            Reading::Text => {
                self.end.push(byte);
                if self.end.ends_with(b"\r\n.\r\n") {
                    self.reading = Reading::Commands;
                    self.reply("250 Ok");
                }
            }
            Reading::Chunk(left) => {
                self.reading = if left > 1 { Reading::Chunk(left - 1) } else { Reading::Commands };
                if left <= 1 {
                    self.reply("250 Ok");
                }
            }
            _ => {
                self.line.push(byte);
                if self.line.ends_with(b"\r\n") || self.habits.takes_bare_lf && byte == b'\n' {
                    let line = String::from_utf8_lossy(&self.line).into_owned();
                    self.line.clear();
                    self.obey(line.trim_end_matches(['\r', '\n']));
                }
            }
        }
    }

    fn obey(&mut self, line: &str) {
        if let Reading::Credentials(left) = self.reading {
            if left > 1 {
                self.reading = Reading::Credentials(left - 1);
                return self.reply("334 ");
            }
            self.reading = Reading::Commands;
            return self.reply(if self.habits.grants_auth { "235 Ok" } else { "535 No" });
        }
        if line.is_empty() && !self.habits.answers_empty_lines {
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["EHLO", _] if self.habits.knows_chunks => self.reply("250-mx\r\n250 CHUNKING"),
            ["EHLO", _] | ["NOOP"] => self.reply("250 mx"),
            ["VRFY", ..] => {
                self.was_asked_in_vain = true;
                self.reply("252 root");
            }
            ["DATA"] if self.habits.grants_data => {
                self.reading = Reading::Text;
                self.end = b"\r\n".to_vec();
                self.reply("354 Go");
            }
            ["BDAT", size, ..] if self.habits.knows_chunks => {
                self.reading = size.parse().map_or(Reading::Commands, Reading::Chunk);
            }
            ["AUTH", mechanism @ ("PLAIN" | "LOGIN")] => {
                self.reading = Reading::Credentials(if mechanism == "PLAIN" { 1 } else { 2 });
                self.reply("334 ");
            }
            ["AUTH", ..] => self.reply(if self.habits.grants_auth { "235 Ok" } else { "535 No" }),
            _ => self.reply("502 No"),
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The client sends a segment.
    Send(Vec<u8>),
    /// So many of the server's replies arrive.
    Replies(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn no_forbidden_command_is_carried_out_unnoticed(
        habits in habits(),
        events in prop::collection::vec(event(), 0..25),
    ) {
        let mut server = Server::new(habits);
        let mut drive = Drive::<Parser>::new(Mode::Enforce, Profile::Standard, [0, 0]);
        drive.scenes[0].commands = !VRFY;
        let (mut sent, mut killed) = ([0_u32; 2], false);
        let mut deliver = |direction, bytes: &[u8]| {
            let seq = sent[direction as usize];
            sent[direction as usize] += bytes.len() as u32;
            drive.segment(direction, seq, bytes, |_, _| {}) == Passage::Passed
        };
        for event in events.iter().chain([&Event::Replies(usize::MAX)]) {
            killed |= match event {
                Event::Send(bytes) => {
                    let passed = deliver(Direction::Original, bytes);
                    bytes.iter().filter(|_| passed).for_each(|byte| server.read(*byte));
                    !passed
                }
                Event::Replies(count) => {
                    let count = server.replies.len().min(*count);
                    let replies: Vec<_> = server.replies.drain(..count).collect();
                    !replies.iter().all(|reply| deliver(Direction::Reply, reply.as_bytes()))
                }
            };
            if killed {
                break;
            }
        }
        let shows = |event: &Event| match event {
            Event::Send(bytes) => bytes.escape_ascii().to_string(),
            Event::Replies(count) => format!("<{count}>"),
        };
        let shown: Vec<_> = events.iter().map(shows).collect();
        prop_assert!(killed || !server.was_asked_in_vain, "{:?}", shown);
    }
}

fn habits() -> impl Strategy<Value = Habits> {
    any::<[bool; 5]>().prop_map(|habits| {
        let [knows_chunks, takes_bare_lf, answers_empty_lines, grants_data, grants_auth] = habits;
        Habits { knows_chunks, takes_bare_lf, answers_empty_lines, grants_data, grants_auth }
    })
}

fn event() -> impl Strategy<Value = Event> {
    const WORDS: [&str; 21] = [
        "EHLO a\r\n",
        "EHLO a\n",
        "NOOP\r\n",
        "NOOP\n",
        "WIZ\r\n",
        "\r\n",
        "DATA\r\n",
        "DATA\r\n",
        "x\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "BDAT 9\r\n",
        "BDAT 9 LAST\r\n",
        "AUTH PLAIN\r\n",
        "AUTH LOGIN\r\n",
        "AUTH PLAIN x\r\n",
        "*\r\n",
        "VRFY x\r\n",
        "VRFY x\r\n",
        "VRFY x\r\n",
        "LHLO a\r\n",
    ];
    let words = prop::collection::vec(prop::sample::select(WORDS.as_slice()), 1..4);
    prop_oneof![
        2 => words.prop_map(|words| Event::Send(words.concat().into_bytes())),
        1 => (1..4_usize).prop_map(Event::Replies),
        1 => Just(Event::Replies(usize::MAX)),
    ]
}
