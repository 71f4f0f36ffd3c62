//! Conversations that live and conversations that are killed, however they are delivered.

mod data;
mod joins;
mod killed;
mod lives;
mod properties;

use super::{INFO, Parser};
use crate::{
    filter::{
        parser::Scene,
        tests::talk::{Heard, Talk, Turn, client, scenes, server},
    },
    policy::{Mode, Profile},
};

/// A server's greeting.
fn greeting() -> Turn {
    server("220 (vsFTPd 3.0.5)\r\n")
}

/// The greeting, then what the client says and the server answers, in turns.
fn talk(lines: &[[&str; 2]]) -> Talk {
    let turns = lines.iter().flat_map(|[said, answered]| [client(said), server(answered)]);
    Talk::new(std::iter::once(greeting()).chain(turns))
}

/// The bits of these commands.
fn only(names: &[&str]) -> u64 {
    INFO.commands
        .iter()
        .enumerate()
        .filter(|(_, name)| names.contains(name))
        .map(|(bit, _)| 1 << bit)
        .sum()
}

/// Both directions, with `change` made to what they know.
fn with_scene(talk: Talk, change: impl Fn(&mut Scene)) -> Talk {
    let mut talk = talk;
    talk.scenes.iter_mut().for_each(change);
    talk
}

/// Client 2001:db8::2 and server 2001:db8:1::2.
fn over_ipv6(talk: Talk) -> Talk {
    let [client, server] = [[0, 2], [1, 2]]
        .map(|[net, host]: [u32; 2]| [0x2001_0db8_u32, net << 16, 0, host].map(u32::to_be));
    let [original, reply] = scenes();
    let scenes = [
        Scene { version: 6, speaker: [client; 2], listener: [server; 2], ..original },
        Scene { version: 6, speaker: [server; 2], listener: [client; 2], ..reply },
    ];
    Talk { scenes, ..talk }
}

/// It is as it should be: nobody objects, in either profile.
#[track_caller]
fn passes(talk: &Talk) -> Heard {
    let heard = talk.every_way::<Parser>();
    assert_eq!((heard.names(), heard.killed_by), (vec![], None));
    assert_eq!(talk.clone().in_profile(Profile::Strict).whole::<Parser>(), heard);
    heard
}

/// The standard profile notes this, and lets it live; the strict one kills it for the same.
#[track_caller]
fn is_noted(talk: &Talk, names: &[&str]) -> Heard {
    let heard = talk.every_way::<Parser>();
    assert_eq!((heard.names(), heard.killed_by), (names.to_vec(), None));
    let strict = talk.clone().in_profile(Profile::Strict).every_way::<Parser>();
    assert_eq!(strict.killed_by, names.first().copied());
    heard
}

/// Either profile kills it for this, and monitor mode only reports it.
#[track_caller]
fn is_killed(talk: &Talk, name: &str) -> Heard {
    let heard = talk.every_way::<Parser>();
    assert_eq!((heard.names(), heard.killed_by), (vec![name], Some(name)));
    let strict = talk.clone().in_profile(Profile::Strict).whole::<Parser>();
    assert_eq!(strict.killed_by, Some(name));
    let watched = talk.clone().in_mode(Mode::Monitor).whole::<Parser>();
    assert_eq!((watched.names().first().copied(), watched.killed_by), (Some(name), None));
    heard
}
