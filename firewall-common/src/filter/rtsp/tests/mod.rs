//! What must live, what must be killed, what is opened, and that none of it depends on the cut of segments.

mod cuts;
mod grammar;
mod joining;
mod killed;
mod living;
mod media;
mod pinholes;
mod requests;
mod rtsp_types;
mod sessions;
mod transport;
mod tunnel;

use super::{KILL_STANDARD, Parser};
use crate::filter::finding::Findings;
use crate::filter::pinhole::Wish;
use crate::filter::tests::talk::{Act, Heard, Talk, Turn, client, server};
use crate::policy::Profile;

#[test]
fn the_parser_fits_the_connections_table() {
    assert!(size_of::<Parser>() <= 768, "{}", size_of::<Parser>());
}

/// A request of the client, with these header lines.
fn asks(method: &str, cseq: u32, headers: &[&str]) -> Turn {
    client(request(method, cseq, headers))
}

/// The same of the server.
fn server_asks(method: &str, cseq: u32, headers: &[&str]) -> Turn {
    server(request(method, cseq, headers))
}

fn request(method: &str, cseq: u32, headers: &[&str]) -> String {
    message(&format!("{method} rtsp://10.2.0.2/film RTSP/1.0"), cseq, headers)
}

/// The server grants what was asked.
fn grants(cseq: u32, headers: &[&str]) -> Turn {
    server(reply("200 OK", cseq, headers))
}

fn reply(status: &str, cseq: u32, headers: &[&str]) -> String {
    message(&format!("RTSP/1.0 {status}"), cseq, headers)
}

fn message(start: &str, cseq: u32, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{start}\r\nCSeq: {cseq}\r\n{headers}\r\n")
}

/// An interleaved frame.
fn frame(channel: u8, len: u16) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    let mut frame = vec![b'$', channel, high, low];
    frame.extend((0..len).map(|i| i as u8));
    frame
}

/// What is found in a stream of the client, read at once.
fn whole(stream: &[u8]) -> Heard {
    Talk::new([client(stream)]).whole::<Parser>()
}

/// By what the same is killed.
fn killed_by(stream: &[u8], profile: Profile) -> Option<&'static str> {
    Talk::new([client(stream)]).in_profile(profile).whole::<Parser>().killed_by
}

/// Asserts that a conversation lives in the standard profile, however it is delivered.
#[track_caller]
fn lives(turns: impl IntoIterator<Item = Turn>) -> Heard {
    judged_to_live(&Talk::new(turns))
}

#[track_caller]
fn judged_to_live(talk: &Talk) -> Heard {
    let heard = talk.every_way::<Parser>();
    assert_eq!(heard.killed_by, None, "{:?}", heard.reports);
    let killing = |name: &&str| {
        super::FINDINGS
            .iter()
            .any(|info| info.name == *name && !(Findings::of(info.code) & KILL_STANDARD).is_empty())
    };
    assert!(!heard.names().iter().any(killing), "{:?}", heard.reports);
    heard
}

/// Asserts that it also follows the grammar to the letter.
#[track_caller]
fn lives_unblamed(turns: impl IntoIterator<Item = Turn>) -> Heard {
    let heard = lives(turns);
    assert_eq!(heard.reports, []);
    heard
}

/// Asserts that a conversation is killed for this, however it is delivered.
#[track_caller]
fn dies(turns: impl IntoIterator<Item = Turn>, expected: &str) {
    let heard = Talk::new(turns).every_way::<Parser>();
    assert_eq!(heard.killed_by, Some(expected), "{:?}", heard.reports);
}

/// What was done about pinholes besides signs of life.
fn deeds(heard: &Heard) -> Vec<Act> {
    heard.acts.iter().map(|(act, _)| *act).filter(|act| *act != Act::Alive).collect()
}

/// The ports of what was opened: at the originator, at the responder, and how many in a row.
fn opened(heard: &Heard) -> Vec<(u16, u16, u8)> {
    let ports = |wish: Wish| (wish.original_port, wish.reply_port, wish.ports);
    heard.opened().into_iter().map(ports).collect()
}
