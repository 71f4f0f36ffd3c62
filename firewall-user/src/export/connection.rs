//! The way to a receiver that may be slow, dead, or come back at another address.
//!
//! A message waits for its receiver in the sender's hand, so that what comes meanwhile stays in the
//! [feed](crate::hub::Feed), whose bound it is: a receiver that is away for a moment misses nothing, and one that is away
//! for long costs no memory. But nothing waits forever: every step has its time.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{self, MsgFlags, sockopt},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket, UnixDatagram, lookup_host},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Endpoint, Health, Transport};

/// How long the look-up of a name and a connection may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a receiver may take to make room for one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the first failure. It doubles with each that follows, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause between attempts. A connection that held longer than this was a good one.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a message waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long UDP's port unreachable may take, where one came before.
const DOUBT: Duration = Duration::from_millis(200);
/// How often it is looked whether a receiver of UDP has moved: nothing else would tell.
const MOVED_PERIOD: Duration = Duration::from_secs(60);
/// How long TCP tries to deliver before the connection counts as broken.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// A connection that is made when it is needed, and made again when it breaks.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    health: Arc<Health>,
    open: Option<Open>,
    number: u64,
    pause: Duration,
    next_attempt: Instant,
    /// The last connection ended with UDP's port unreachable, which comes only after the message is gone.
    in_doubt: bool,
    /// How many the last message held that was written.
    last: u64,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    since: Instant,
    looked_at: Instant,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Connection {
    /// A connection to `endpoint`, which is not made yet. What becomes of messages is told in `health`.
    pub(super) fn new(endpoint: Endpoint, health: Arc<Health>) -> Self {
        Self {
            endpoint,
            health,
            open: None,
            number: 0,
            pause: PAUSE_MIN,
            next_attempt: Instant::now(),
            in_doubt: false,
            last: 0,
        }
    }

    /// Sends a message: one datagram, or by TCP all its bytes on one connection. Takes [`PATIENCE`] and the time of one
    /// attempt at most. Counts it in the health, as sent or as failed, and returns whether it was sent.
    ///
    /// By TCP a message that a receiver acknowledged and did not read before it died counts as sent.
    pub(super) async fn send(&mut self, message: &[u8]) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let failure = match self.connected_by(deadline).await {
                None => None,
                Some(_) => match self.write(message, 1).await {
                    Ok(()) => {
                        self.health.sent(1);
                        return true;
                    }
                    // Another attempt would find it too long again.
                    Err(error) if is_too_long(&error) => Some(error),
                    Err(_) if Instant::now() < deadline => continue,
                    Err(error) => Some(error),
                },
            };
            match failure {
                Some(error) => self.health.failed(1, self.told(&error)),
                None => self.health.failed(1, self.standing_failure()),
            }
            return false;
        }
    }

    /// Sees to it that there is a connection. Returns its number, which tells it from those before; `None`: there is none
    /// and [`PATIENCE`] is over. May be cancelled.
    pub(super) async fn connected(&mut self) -> Option<u64> {
        self.connected_by(Instant::now() + PATIENCE).await
    }

    async fn connected_by(&mut self, deadline: Instant) -> Option<u64> {
        self.break_if_closed();
        self.follow_if_moved().await;
        while self.open.is_none() {
            if self.next_attempt > deadline {
                sleep_until(deadline).await;
                return None;
            }
            sleep_until(self.next_attempt).await;
            match in_time(CONNECT_TIMEOUT, Socket::open(&self.endpoint)).await {
                Ok(socket) => self.take(socket),
                Err(error) => self.break_off(&error),
            }
        }
        Some(self.number)
    }

    /// Writes a message that holds `count` events or records on the connection that there is. What becomes of it is for
    /// the caller to count; only what UDP refused late, of the message before it, is counted here: as failed, after it
    /// was as sent.
    ///
    /// # Errors
    ///
    /// EMSGSIZE: it is too long for a datagram; the connection stands. Any other: the connection broke, and there is none
    /// now.
    pub(super) async fn write(&mut self, message: &[u8], count: u64) -> io::Result<()> {
        let in_doubt = self.in_doubt;
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let written = match in_time(WRITE_TIMEOUT, open.socket.write(message)).await {
            Ok(()) if in_doubt => open.socket.refused_late().await,
            other => other,
        };
        match &written {
            Ok(()) => (self.in_doubt, self.last) = (false, count),
            Err(error) if is_too_long(error) => {}
            Err(error) => {
                let is_udp = matches!(open.socket, Socket::Udp(_));
                if is_udp && !in_doubt && error.kind() == io::ErrorKind::ConnectionRefused {
                    // What the receiver's host refused is the message before this one.
                    self.health.failed(self.last, self.told(error));
                }
                self.in_doubt = is_udp;
                self.break_off(error);
            }
        }
        written
    }

    fn take(&mut self, socket: Socket) {
        let now = Instant::now();
        self.open = Some(Open { socket, since: now, looked_at: now });
        self.number += 1;
    }

    /// Nothing can be sent now: says so, and when it is tried again.
    fn break_off(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.open.take().is_some_and(|open| now - open.since > PAUSE_MAX) {
            self.pause = PAUSE_MIN;
        }
        self.next_attempt = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.health.failed(0, self.told(error));
    }

    /// A receiver that ended said so: better known before the next message is lost than after.
    fn break_if_closed(&mut self) {
        if let Some(Open { socket: Socket::Tcp(stream), .. }) = &self.open
            && let Err(error) = read_away(stream)
        {
            self.break_off(&error);
        }
    }

    /// By UDP a receiver whose name has another address now, or that is reached from another address, gets another
    /// socket. While the look-up fails, the old one is good.
    async fn follow_if_moved(&mut self) {
        let Some(Open { socket: Socket::Udp(old), looked_at, .. }) = &mut self.open else { return };
        if looked_at.elapsed() < MOVED_PERIOD {
            return;
        }
        *looked_at = Instant::now();
        let ends =
            |socket: &UdpSocket| Some((socket.local_addr().ok()?.ip(), socket.peer_addr().ok()?));
        if let Ok(Socket::Udp(new)) = in_time(CONNECT_TIMEOUT, Socket::open(&self.endpoint)).await
            && ends(&new) != ends(old)
        {
            self.take(Socket::Udp(new));
        }
    }

    fn told(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.endpoint)
    }

    fn standing_failure(&self) -> String {
        let standing = self.health.condition().failure;
        standing.unwrap_or_else(|| format!("{}: no connection", self.endpoint))
    }
}

impl Socket {
    async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Host { transport: Transport::Udp, host, port } => {
                udp(host, *port).await.map(Self::Udp)
            }
            Endpoint::Host { transport: Transport::Tcp, host, port } => {
                tcp(host, *port).await.map(Self::Tcp)
            }
            Endpoint::Unix(path) => unix(path).map(Self::Unix),
        }
    }

    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::Tcp(stream) => stream.write_all(message).await,
            Self::Unix(socket) => socket.send(message).await.map(drop),
        }
    }

    /// Waits whether the host says that nobody listens.
    async fn refused_late(&self) -> io::Result<()> {
        let Self::Udp(socket) = self else { return Ok(()) };
        sleep(DOUBT).await;
        socket.take_error()?.map_or(Ok(()), Err)
    }
}

/// The first of the host's addresses that there is a way to.
async fn udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host((host, port)).await? {
        let local = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(local).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // A receiver that vanished without a word is noticed, whether there is something to send or not.
    let unacknowledged = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    let seconds = u32::try_from(UNACKNOWLEDGED_MAX.as_secs()).unwrap_or(u32::MAX);
    socket::setsockopt(&stream, sockopt::TcpUserTimeout, &unacknowledged)?;
    socket::setsockopt(&stream, sockopt::TcpKeepIdle, &seconds)?;
    socket::setsockopt(&stream, sockopt::KeepAlive, &true)?;
    Ok(stream)
}

fn unix(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// Reads what a receiver says, which nobody asked it for.
///
/// # Errors
///
/// It ended the connection.
fn read_away(stream: &TcpStream) -> io::Result<()> {
    let mut heard = [0; 512];
    match socket::recv(stream.as_raw_fd(), &mut heard, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the receiver ended the connection",
        )),
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMSGSIZE as i32)
}

async fn in_time<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timed_out = || {
        let text = format!("no answer within {} seconds", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(limit, step).await.unwrap_or_else(|_| Err(timed_out()))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;
    use crate::export::Condition;

    fn connection(to: &str) -> (Connection, Arc<Health>) {
        let health = Arc::new(Health::default());
        (Connection::new(to.parse().unwrap(), Arc::clone(&health)), health)
    }

    async fn heard(stream: &mut TcpStream) -> String {
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_receiver_of_tcp_that_comes_back_gets_what_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut connection, health) = connection(&format!("tcp://localhost:{}", address.port()));
        assert!(connection.send(b"first").await);
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(heard(&mut stream).await, "first");
        let number = connection.connected().await;
        drop((stream, listener));

        let back = async {
            while health.condition().failure.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
            let listener = TcpListener::bind(address).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            (heard(&mut stream).await, stream)
        };
        let (sent, (text, _stream)) = tokio::join!(connection.send(b"again"), back);
        assert!(sent);
        assert_eq!(text, "again");
        assert_eq!(health.condition(), Condition { sent: 2, failed: 0, failure: None });
        assert!(connection.connected().await > number, "another connection has another number");
    }

    #[tokio::test]
    async fn a_receiver_of_udp_that_comes_back_gets_what_waited() {
        let receiver = UdpSocket::bind("[::1]:0").await.unwrap();
        let address = receiver.local_addr().unwrap();
        let (mut connection, health) = connection(&format!("udp://{address}"));
        assert!(connection.send(b"first").await);
        drop(receiver);
        assert!(connection.send(b"lost").await, "nobody has said yet that nobody listens");

        let back = async {
            while health.condition().failed == 0 {
                sleep(Duration::from_millis(10)).await;
            }
            let receiver = UdpSocket::bind(address).await.unwrap();
            let mut text = [0; 16];
            let length = receiver.recv(&mut text).await.unwrap();
            String::from_utf8(text[..length].to_vec()).unwrap()
        };
        let (sent, text) = tokio::join!(connection.send(b"again"), back);
        assert!(sent);
        assert_eq!(text, "again");
        assert_eq!(health.condition(), Condition { sent: 3, failed: 1, failure: None });
    }

    #[tokio::test]
    async fn nobody_there_is_told_and_not_waited_for_longer_than_patience() {
        let directory = tempfile::tempdir().unwrap();
        let to = format!("unix://{}/log", directory.path().display());
        let (mut connection, health) = connection(&to);
        connection.pause = PAUSE_MAX;
        let soon = Instant::now() + Duration::from_millis(100);
        assert_eq!(connection.connected_by(soon).await, None);
        let failure = health.condition().failure.unwrap();
        assert_eq!(failure, format!("{to}: No such file or directory (os error 2)"));
    }

    #[tokio::test]
    async fn a_message_too_long_for_a_datagram_is_lost_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let (mut connection, health) = connection(&format!("unix://{}", path.display()));
        assert!(!connection.send(&vec![b'a'; 1 << 22]).await);
        assert_eq!(health.condition().failed, 1);
        assert!(connection.send(b"short").await);
        let mut text = [0; 16];
        assert_eq!(receiver.recv(&mut text).await.unwrap(), 5);
        assert_eq!(health.condition(), Condition { sent: 1, failed: 1, failure: None });
    }
}
