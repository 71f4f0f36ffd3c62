//! Conversations: what must live, what must be killed, and that neither depends on the cut of segments.

mod conversations;
mod cuts;
mod driver;
mod joining;

use super::Parser;
use crate::filter::tests::talk::{Talk, client, server};

#[test]
fn a_plain_conversation_is_read_the_same_however_it_is_cut() {
    let request = client("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let talk = Talk::new([request, server("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")]);
    assert_eq!(talk.every_way::<Parser>().names(), [""; 0]);
}
