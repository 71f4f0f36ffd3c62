//! Records on their way, to collectors that come and go.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

use super::{Decoded, Decoder, ended, ended_v6, number};
use crate::{
    event::Event,
    export::{Condition, Health, ipfix::*},
    hub::{Hub, ROOM},
};

/// An export that runs.
struct Exporting {
    hub: Hub,
    health: Arc<Health>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Exporting {
    fn start(to: &str) -> Self {
        let hub = Hub::default();
        let mut feed = hub.feed(criteria().selection(0).unwrap());
        let lost = feed.lost();
        let (to, health): (Endpoint, _) = (to.parse().unwrap(), Arc::<Health>::default());
        let Endpoint::Host { transport, .. } = to else { panic!("{to} is no host") };
        let mut sender = Sender {
            connection: Connection::new(to, Arc::clone(&health)),
            number: None,
            session: Session::new(transport, 7),
            transport,
            domain: 7,
            health: Arc::clone(&health),
        };
        let linger = Duration::from_millis(20);
        let task = tokio::spawn(async move { sender.run(&mut feed, linger).await });
        Self { hub, health, lost, task }
    }

    fn publish(&mut self, event: Event) {
        self.hub.publish(event).unwrap();
    }

    /// Waits until this is how it is doing.
    async fn wait_until(&self, what: &str, holds: impl Fn(&Condition) -> bool) {
        for _ in 0..2_000 {
            if holds(&self.health.condition()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} does not come: {:?}", self.health.condition());
    }
}

/// The next datagram.
async fn heard(socket: &UdpSocket, decoder: &mut Decoder) -> Decoded {
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes).await.unwrap();
    decoder.decode(&bytes[..length])
}

/// The next message of a connection, which its length ends.
async fn read(stream: &mut TcpStream, decoder: &mut Decoder) -> Decoded {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    bytes[..4].copy_from_slice(&head);
    stream.read_exact(&mut bytes[4..]).await.unwrap();
    decoder.decode(&bytes)
}

fn flow_ids(decoded: &Decoded) -> Vec<u64> {
    decoded.records.iter().map(|(_, record)| number(record, 148, 0)).collect()
}

#[tokio::test]
async fn datagrams_bring_every_record_once_and_the_templates_first() {
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    let mut exporting = Exporting::start(&format!("udp://{}", socket.local_addr().unwrap()));
    (1..=100).for_each(|number| exporting.publish(ended(number)));
    (101..=200).for_each(|number| exporting.publish(ended_v6(number)));
    exporting.publish(Event { event: "packet_dropped".to_owned(), ..ended(201) });
    let mut decoder = Decoder::default();
    let mut ids = Vec::new();
    while ids.len() < 200 {
        let decoded = heard(&socket, &mut decoder).await;
        assert_eq!(decoded.has_templates, ids.is_empty(), "with the first one only");
        ids.extend(flow_ids(&decoded));
    }
    assert_eq!(ids, (1..=200).collect::<Vec<_>>());
    exporting.wait_until("the count", |condition| condition.sent == 200).await;
    drop(exporting.hub);
    exporting.task.await.unwrap();
    assert_eq!(exporting.health.condition().failed, 0);
}

#[tokio::test]
async fn a_collector_of_datagrams_that_comes_back_gets_the_templates_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut exporting = Exporting::start(&format!("udp://{address}"));
    exporting.publish(ended(1));
    assert_eq!(flow_ids(&heard(&socket, &mut Decoder::default()).await), [1]);
    drop(socket);
    // Nobody has said yet that nobody listens.
    exporting.publish(ended(2));
    exporting.publish(ended(3));
    exporting.wait_until("the second and the third", |condition| condition.sent == 3).await;
    exporting.publish(ended(4));
    // Both were in one message, and nobody listened.
    exporting.wait_until("the refusal", |condition| condition.failed == 2).await;
    let socket = UdpSocket::bind(address).await.unwrap();
    let decoded = heard(&socket, &mut Decoder::default()).await;
    assert!(decoded.has_templates, "and its sequence begins anew");
    assert_eq!(flow_ids(&decoded), [4]);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_and_begins_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut exporting = Exporting::start(&format!("tcp://{address}"));
    for round in [0, 10] {
        exporting.publish(ended(round + 1));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut decoder = Decoder::default();
        let first = read(&mut stream, &mut decoder).await;
        assert_eq!((flow_ids(&first), first.has_templates), (vec![round + 1], true));
        exporting.publish(ended(round + 2));
        let second = read(&mut stream, &mut decoder).await;
        assert_eq!((flow_ids(&second), second.has_templates), (vec![round + 2], false));
    }
    drop(exporting.hub);
    exporting.task.await.unwrap();
    assert_eq!(exporting.health.condition(), Condition { sent: 4, failed: 0, failure: None });
}

#[tokio::test]
async fn an_end_that_says_too_little_is_counted_and_the_next_goes() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut exporting = Exporting::start(&format!("udp://{}", socket.local_addr().unwrap()));
    exporting.publish(Event { totals: None, ..ended(1) });
    exporting.publish(ended(2));
    assert_eq!(flow_ids(&heard(&socket, &mut Decoder::default()).await), [2]);
    exporting.wait_until("the counts", |it| (it.sent, it.failed) == (1, 1)).await;
}

#[tokio::test]
async fn a_collector_that_reads_nothing_costs_its_own_records_and_no_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut exporting = Exporting::start(&format!("tcp://{}", listener.local_addr().unwrap()));
    exporting.publish(ended(0));
    let (_unread, _) = listener.accept().await.unwrap();
    exporting.wait_until("the first", |condition| condition.sent == 1).await;
    // The export does not come to its turn meanwhile: as if it waited for the collector.
    let published = 2 * ROOM as u64;
    (1..=published).for_each(|number| exporting.publish(ended(number)));
    let lost = exporting.lost.load(Relaxed);
    assert!(lost >= published - ROOM as u64, "the feed held more than it may: {lost} lost");
    exporting.wait_until("that it goes on", |condition| condition.sent > 1).await;
    let Condition { sent, failed, .. } = exporting.health.condition();
    assert!(lost + sent <= published + 1, "{lost} lost and {sent} sent");
    assert_eq!((failed, exporting.lost.load(Relaxed)), (0, lost), "nothing is lost twice");
    exporting.task.abort();
    let _ = exporting.task.await;
}

#[tokio::test]
async fn a_unix_socket_is_none_for_flow_records() {
    let mut feed = Hub::default().feed(criteria().selection(0).unwrap());
    let to: Endpoint = "unix:///dev/log".parse().unwrap();
    let ended = run(to, 1, &mut feed, Arc::default()).await;
    assert!(ended.unwrap_err().to_string().contains("UDP or TCP"));
}
