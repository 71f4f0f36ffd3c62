//! The controller's end of the socket, as a subscriber meets it.

use std::sync::{Arc, Mutex};

use firewall_common::reason::Reason;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::serve;
use crate::{
    event::{Captured, Event, Link, rfc3339},
    hub::{Hub, Seats},
};

/// An event of a kind, whose number is its time too.
fn event(kind: &str, number: u64) -> Event {
    let control = Event::control(number, None, i128::from(number), Reason::None, String::new());
    Event { event: kind.to_owned(), ..control }
}

fn hub(events: impl Iterator<Item = Event>) -> Arc<Mutex<Hub>> {
    let mut hub = Hub::default();
    events.for_each(|event| hub.publish(event).unwrap());
    Arc::new(Mutex::new(hub))
}

/// What the controller answers to `said` until it ends.
async fn answer(hub: &Arc<Mutex<Hub>>, said: &[u8]) -> Vec<Value> {
    let (mut here, there) = UnixStream::pair().unwrap();
    let server = tokio::spawn(serve(there, Arc::clone(hub), Arc::default()));
    // One that is refused at once is not listened to.
    let _ = here.write_all(said).await;
    if !said.is_empty() {
        let _ = here.write_all(b"\n").await;
    }
    let lines = lines(&mut here).await;
    server.await.unwrap().unwrap();
    lines
}

async fn lines(stream: &mut UnixStream) -> Vec<Value> {
    let mut text = Vec::new();
    // An end that was not listened to the end says so behind what it said.
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["event_id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn what_is_remembered_is_told_with_packets_or_without() {
    let packet = Captured { link: Link::Ip, length: 40, bytes: vec![0x45] };
    let dropped = Event { packet: Some(packet), ..event("packet_dropped", 1) };
    let hub = hub([event("control", 0), dropped, event("control", 2)].into_iter());
    let lines = answer(&hub, b"{}\n").await;
    assert_eq!(numbers(&lines), [0, 1, 2]);
    assert_eq!(lines[1].get("packet"), None);
    let lines = answer(&hub, br#"{"packets":true,"where":{"event":["packet_dropped"]}}"#).await;
    assert_eq!(numbers(&lines), [1]);
    assert_eq!(lines[0]["packet"], json!({"link": "ip", "length": 40, "bytes": "RQ=="}));
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let hub = hub(std::iter::empty());
    let long = vec![b' '; 20_000];
    for (said, why) in [
        (&b"hello\n"[..], "this is no request: expected value at line 1 column 1"),
        (b"\xff\xfe\n", "this is no request"),
        (b"{\"follow\":1}\n", "this is no request: invalid type: integer `1`, expected a boolean"),
        (b"{\"follows\":true}\n", "this is no request: unknown field `follows`"),
        (b"{\"where\":{\"port\":[\"x\"]}}\n", "--port x: not a number"),
        (&long, "a line has at most 16384 bytes"),
        (b"{\"publish\":true}\n{}\n", "event 1 is none: missing field"),
    ] {
        let lines = answer(&hub, said).await;
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with(why), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_asked_to_leave() {
    let hub = hub(std::iter::empty());
    assert_eq!(answer(&hub, b"").await, [json!({"error": "no request came within 5 s"})]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_left() {
    let hub = hub((0..5_000).map(|number| event("packet_dropped", number)));
    let (mut here, there) = UnixStream::pair().unwrap();
    let server = tokio::spawn(serve(there, Arc::clone(&hub), Arc::default()));
    here.write_all(b"{\"follow\":true}\n").await.unwrap();
    let error = server.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "it takes nothing any more");
    assert_eq!(hub.lock().unwrap().figures().subscribers, 0);
}

#[tokio::test]
async fn who_is_behind_is_told_what_is_missing() {
    const ROOM: u64 = 10_000;
    let hub = hub(std::iter::empty());
    let (mut here, there) = UnixStream::pair().unwrap();
    let server = tokio::spawn(serve(there, Arc::clone(&hub), Arc::default()));
    here.write_all(b"{\"follow\":true}\n").await.unwrap();
    while hub.lock().unwrap().figures().lost.is_empty() {
        tokio::task::yield_now().await;
    }
    for number in 0..2 * ROOM {
        let kind = if number % 1_000 == 0 { "connection_killed" } else { "packet_dropped" };
        hub.lock().unwrap().publish(event(kind, number)).unwrap();
    }
    hub.lock().unwrap().close();
    let lines = lines(&mut here).await;
    server.await.unwrap().unwrap();
    let lost = ROOM - 20;
    let message = format!(
        "this subscriber was too slow: {lost} events are missing here: {lost} packet_dropped"
    );
    assert_eq!(lines.iter().filter(|line| line["message"] == message).count(), 1);
    let kills = lines.iter().filter(|line| line["event"] == "connection_killed");
    assert_eq!(kills.count(), 20);
    assert_eq!(lines.len() as u64, 2 * ROOM - lost + 1);
    let figures = hub.lock().unwrap().figures();
    assert_eq!(figures.lost, [("socket".to_owned(), lost)]);
}

#[tokio::test]
async fn seats_are_given_back_by_those_who_vanish() {
    let hub = hub(std::iter::empty());
    let mut guests = Vec::new();
    let mut servers = Vec::new();
    let limit = Seats::limit(nix::unistd::geteuid().is_root());
    for _ in 0..limit {
        let (mut here, there) = UnixStream::pair().unwrap();
        servers.push(tokio::spawn(serve(there, Arc::clone(&hub), Arc::default())));
        here.write_all(b"{\"follow\":true}\n").await.unwrap();
        guests.push(here);
    }
    while hub.lock().unwrap().figures().subscribers < limit {
        tokio::task::yield_now().await;
    }
    let refused = answer(&hub, b"{}\n").await;
    assert!(refused[0]["error"].as_str().unwrap().starts_with("too many programs"), "{refused:?}");
    // No event comes that could not be written to them.
    drop(guests);
    for server in servers {
        server.await.unwrap().unwrap();
    }
    assert_eq!(answer(&hub, b"{}\n").await, [] as [Value; 0]);
}

#[tokio::test]
async fn who_will_say_no_more_is_still_told() {
    let hub = hub(std::iter::empty());
    let (mut here, there) = UnixStream::pair().unwrap();
    let server = tokio::spawn(serve(there, Arc::clone(&hub), Arc::default()));
    here.write_all(b"{\"follow\":true}").await.unwrap();
    here.shutdown().await.unwrap();
    while hub.lock().unwrap().figures().lost.is_empty() {
        tokio::task::yield_now().await;
    }
    hub.lock().unwrap().publish(event("control", 7)).unwrap();
    hub.lock().unwrap().close();
    assert_eq!(numbers(&lines(&mut here).await), [7]);
    server.await.unwrap().unwrap();
}

mod store {
    use super::*;
    use crate::store::Segments;

    /// A hub that remembers the events `remembered` of 0 to 99, and a disk with all up to 97.
    fn kept(remembered: &[u64]) -> (tempfile::TempDir, Arc<Mutex<Hub>>) {
        let directory = tempfile::tempdir().unwrap();
        let packet = Captured { link: Link::Ip, length: 40, bytes: vec![0x45] };
        let line = |number| {
            let event = Event { packet: Some(packet.clone()), ..event("packet_dropped", number) };
            serde_json::to_string(&event).unwrap() + "\n"
        };
        for file in 0..10 {
            let text: String =
                (file * 10..file * 10 + 10).filter(|it| *it < 98).map(line).collect();
            std::fs::write(directory.path().join(format!("{file:010}.jsonl")), text).unwrap();
        }
        let events = remembered.iter().map(|number| event("packet_dropped", *number));
        let hub = hub(events);
        hub.lock().unwrap().set_store(Some(Segments::at(directory.path().to_owned())));
        (directory, hub)
    }

    #[tokio::test]
    async fn what_memory_no_longer_has_comes_from_disk() {
        for remembered in [&[98, 99][..], &[5, 50, 98, 99], &[95, 96, 97, 98, 99]] {
            let (_directory, hub) = kept(remembered);
            let since = |number: u64| json!({"where": {"since": rfc3339(i128::from(number))}});
            for first in [0, 1, 50, 97, 99] {
                let lines = answer(&hub, since(first).to_string().as_bytes()).await;
                assert_eq!(numbers(&lines), (first..100).collect::<Vec<_>>(), "{remembered:?}");
                assert!(lines.iter().all(|line| line.get("packet").is_none()));
            }
            let mut until = since(3);
            until["where"]["until"] = rfc3339(20).into();
            until["packets"] = true.into();
            let lines = answer(&hub, until.to_string().as_bytes()).await;
            assert_eq!(numbers(&lines), (3..=20).collect::<Vec<_>>());
            assert!(lines.iter().filter(|line| line.get("packet").is_some()).count() > 16);
            // Without a time or a number it is what is remembered.
            assert_eq!(numbers(&answer(&hub, b"{}").await), remembered);
        }
    }

    #[tokio::test]
    async fn the_last_so_many_are_the_last_of_both() {
        for remembered in [&[98, 99][..], &[5, 50, 98, 99], &[95, 96, 97, 98, 99]] {
            let (_directory, hub) = kept(remembered);
            for last in [0, 1, 2, 3, 5, 6, 10, 50, 60, 99, 100, 1_000] {
                let lines = answer(&hub, json!({"last": last}).to_string().as_bytes()).await;
                // What a controller remembers is whole, unless it had to forget. These never had, so the last are
                // those.
                let wanted: Vec<u64> = if last <= remembered.len() as u64 {
                    remembered[remembered.len() - last as usize..].to_vec()
                } else {
                    (100_u64.saturating_sub(last)..100).collect()
                };
                assert_eq!(numbers(&lines), wanted, "{remembered:?} {last}");
            }
        }
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_read_is_told_of() {
        let (directory, hub) = kept(&[98, 99]);
        let file = directory.path().join("0000000003.jsonl");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let lines = answer(&hub, br#"{"where":{"since":"1970-01-01"}}"#).await;
        let told = lines.iter().position(|line| line["event"] == "control").unwrap();
        let message = lines[told]["message"].as_str().unwrap();
        assert!(message.starts_with("events that are kept on disk are missing here:"), "{message}");
        assert_eq!(numbers(&lines[told + 1..]), [98, 99]);
    }
}
