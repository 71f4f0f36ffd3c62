//! Conversations: what must live, what must be killed, and that neither depends on the cut of segments.

mod abuse;
mod any_bytes;
mod evasion;
mod joining;
mod living;
mod masking;
mod odd;

use super::Parser;
use crate::filter::tests::talk::{Heard, Talk, Turn, client, server};
use crate::policy::Profile;

/// What is said about the conversation, however it is delivered.
fn heard(turns: &[Turn]) -> Heard {
    Talk::new(turns.to_vec()).every_way::<Parser>()
}

/// The same in the strict profile.
fn heard_strictly(turns: &[Turn]) -> Heard {
    Talk::new(turns.to_vec()).in_profile(Profile::Strict).every_way::<Parser>()
}

/// A server's greeting and its answer to EHLO.
fn greeting() -> Vec<Turn> {
    vec![
        server("220 mx.example ESMTP\r\n"),
        client("EHLO client.example\r\n"),
        server("250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n"),
    ]
}

/// What comes behind the greeting.
fn after_greeting(turns: impl IntoIterator<Item = Turn>) -> Vec<Turn> {
    greeting().into_iter().chain(turns).collect()
}

/// A mail with this text, which ends with its dot, up to the server's word that it took it.
fn mail(text: impl AsRef<[u8]>) -> Vec<Turn> {
    after_greeting([
        client("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"),
        server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"),
        client(text),
        server("250 2.0.0 Ok: queued as 4\r\n"),
    ])
}
