//! Events as messages of syslog.
//!
//! UDP and Unix sockets take one message a datagram (RFC 5426, section 3.1); by TCP each has its length before it (RFC
//! 6587, section 3.4.1), so that nothing in it can be taken for its end.

mod message;
#[cfg(test)]
mod strict;

use std::sync::Arc;

use self::message::{Sender, message};
use super::{Endpoint, Facility, Health, Transport, connection::Connection};
use crate::hub::Feed;

/// Longest message by UDP: what receivers should take (RFC 5424, section 6.1). A longer one would be in fragments, of which
/// each can be lost.
const DATAGRAM_MAX: usize = 2_048;
/// Longest message by TCP and Unix sockets: what rsyslog and syslog-ng take if not told otherwise.
const MESSAGE_MAX: usize = 8_192;

/// Sends each event of the feed, until the feed ends.
pub(super) async fn run(to: Endpoint, facility: Facility, feed: &mut Feed, health: Arc<Health>) {
    let (framing, limit) = match &to {
        Endpoint::Host { transport: Transport::Tcp, .. } => (Framing::OctetCounting, MESSAGE_MAX),
        Endpoint::Host { transport: Transport::Udp, .. } => (Framing::Datagram, DATAGRAM_MAX),
        Endpoint::Unix(_) => (Framing::Datagram, MESSAGE_MAX),
    };
    let mut connection = Connection::new(to, health);
    while let Some(told) = feed.next().await {
        // The machine may get another name while the controller runs.
        let text = message(&told.event, facility, &Sender::here(), limit);
        connection.send(framing.frame(text).as_bytes()).await;
    }
}

/// How a receiver knows where a message ends.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Datagram,
    OctetCounting,
}

impl Framing {
    fn frame(self, message: String) -> String {
        match self {
            Self::Datagram => message,
            Self::OctetCounting => format!("{} {message}", message.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, UnixDatagram},
    };

    use super::*;
    use crate::{events::Selection, export::fields::tests::full, hub::Hub};

    /// A hub that has published `count` events, and the feed of it that ends behind them.
    fn feed_of(count: u64) -> Feed {
        let mut hub = Hub::default();
        let feed = hub.feed(Selection::default());
        for event_id in 1..=count {
            hub.publish(crate::event::Event { event_id, ..full() }).unwrap();
        }
        feed
    }

    fn is_event(message: &[u8], event_id: u64) -> bool {
        let read = strict::read(message).unwrap();
        read.structured[0].1.contains(&("event_id", event_id.to_string()))
    }

    #[tokio::test]
    async fn each_message_of_a_stream_has_its_length_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let health = Arc::new(Health::default());
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        let mut feed = feed_of(3);
        let send = run(to, Facility::Daemon, &mut feed, Arc::clone(&health));
        let (bytes, ()) = tokio::join!(receive, send);
        let messages = strict::counted(&bytes).unwrap();
        assert_eq!(messages.len(), 3);
        assert!((1..).zip(messages).all(|(number, message)| is_event(message, number)));
        assert_eq!(health.condition().sent, 3);
    }

    #[tokio::test]
    async fn a_unix_socket_gets_a_datagram_for_each_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let health = Arc::new(Health::default());
        run(Endpoint::Unix(path), Facility::Daemon, &mut feed_of(2), Arc::clone(&health)).await;
        let mut message = vec![0; MESSAGE_MAX];
        for event_id in 1..=2 {
            let length = receiver.recv(&mut message).await.unwrap();
            assert!(is_event(&message[..length], event_id));
        }
    }
}
