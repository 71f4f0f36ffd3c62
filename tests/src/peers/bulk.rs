//! Bulk TCP: as many bytes as asked for in one connection, each of them checked at the other end; plain ones,
//! or interleaved media.

use std::{
    io::{self, Read as _, Write as _},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::reel::{self, Reel};
use crate::host::Host;

/// How much is handed to the kernel at once: it makes segments of up to 64 KiB of it.
const CHUNK_BYTES: usize = 256 * 1024;

/// The pattern repeats after this many bytes. A prime, so that no loss of a power of two goes unseen.
const PERIOD_BYTES: usize = 65_521;

/// How long either side waits for the other before the transfer counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a transfer went.
#[derive(Clone, Copy, Debug)]
pub struct Transferred {
    /// How long the bytes took, from the first to the last.
    pub took: Duration,
    /// The longest time between two that came.
    pub longest_stall: Duration,
    /// Segments that the sender's kernel sent again.
    pub repeated: u32,
}

/// Sends `bytes` bytes from `sender` to `receiver`, which listens at `address`. An error when they do
/// not arrive whole and in order.
pub fn transfer(sender: &Host, receiver: &Host, address: SocketAddr, bytes: usize) -> Result<()> {
    let listener = listen(receiver, address)?;
    let outgoing = connect(sender, address)?;
    let (incoming, _) = listener.accept().context("cannot accept the connection")?;
    let pattern = pattern();
    let content = |position, length| &pattern[position % PERIOD_BYTES..][..length];
    carry(outgoing, incoming, &content, bytes, || Ok(())).map(drop)
}

/// Sends `bytes` bytes of interleaved media, as fast as TCP goes, from an RTSP server that listens at `address` on
/// `server` to `client`. An error when they do not arrive whole and in order.
pub fn play(
    client: &Host,
    server: &Host,
    address: SocketAddr,
    bytes: usize,
    begun: impl FnOnce() -> Result<()>,
) -> Result<Transferred> {
    let listener = listen(server, address)?;
    let mut near = connect(client, address)?;
    let (mut far, _) = listener.accept().context("cannot accept the connection")?;
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE))?;
    }
    reel::introduce(&mut near, &mut far)?;
    let reel = Reel::new(false, CHUNK_BYTES);
    carry(far, near, &|position, length| reel.piece(position, length), bytes, begun)
}

fn listen(host: &Host, address: SocketAddr) -> Result<TcpListener> {
    host.run(|| TcpListener::bind(address))?.with_context(|| format!("cannot listen at {address}"))
}

fn connect(host: &Host, address: SocketAddr) -> Result<TcpStream> {
    host.run(|| TcpStream::connect_timeout(&address, PATIENCE))?
        .with_context(|| format!("cannot connect from the {} to {address}", host.role()))
}

/// Sends `bytes` bytes, of which `content` tells a stretch by its position and its length.
fn carry<'a>(
    outgoing: TcpStream,
    incoming: TcpStream,
    content: &(impl Fn(usize, usize) -> &'a [u8] + Sync),
    bytes: usize,
    begun: impl FnOnce() -> Result<()>,
) -> Result<Transferred> {
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(outgoing, content, bytes).context("while sending"));
        let received = receive(incoming, content, bytes, begun).context("while receiving");
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A receiver that gives up resets the sender's connection: its word counts more.
        let (took, longest_stall) = received?;
        let repeated = sent?;
        Ok(Transferred { took, longest_stall, repeated })
    })
}

/// Long enough that a chunk can begin anywhere in its first period.
fn pattern() -> Vec<u8> {
    let period = (0..PERIOD_BYTES).map(|index| (index ^ (index >> 8)) as u8);
    period.cycle().take(PERIOD_BYTES + CHUNK_BYTES).collect()
}

/// Returns how many segments were repeated.
fn send<'a>(
    mut stream: TcpStream,
    content: &impl Fn(usize, usize) -> &'a [u8],
    bytes: usize,
) -> Result<u32> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut sent = 0;
    while sent < bytes {
        let length = CHUNK_BYTES.min(bytes - sent);
        stream
            .write_all(content(sent, length))
            .with_context(|| format!("after {sent} of {bytes} bytes"))?;
        sent += length;
    }
    stream.shutdown(Shutdown::Write)?;
    // The other side closes once it has all.
    stream.set_read_timeout(Some(PATIENCE))?;
    if stream.read(&mut [0]).context("after the last byte")? != 0 {
        bail!("the receiver says something");
    }
    repeated_segments(&stream).context("cannot ask for the connection's figures")
}

fn repeated_segments(stream: &TcpStream) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` bytes to `info`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: numbers, for which zeros are as good as what the kernel wrote.
    Ok(unsafe { info.assume_init() }.tcpi_total_retrans)
}

/// Returns how long it took, and the longest time without a byte.
fn receive<'a>(
    mut stream: TcpStream,
    content: &impl Fn(usize, usize) -> &'a [u8],
    bytes: usize,
    begun: impl FnOnce() -> Result<()>,
) -> Result<(Duration, Duration)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut received = 0;
    let mut begun = Some(begun);
    let start = Instant::now();
    let mut last = start;
    let mut longest_stall = Duration::ZERO;
    loop {
        let read = stream
            .read(&mut buffer)
            .with_context(|| format!("after {received} of {bytes} bytes"))?;
        if read == 0 {
            break;
        }
        let now = Instant::now();
        longest_stall = longest_stall.max(now - last);
        last = now;
        if buffer[..read] != *content(received, read) {
            bail!("wrong content between byte {received} and byte {}", received + read);
        }
        received += read;
        if received >= CHUNK_BYTES
            && let Some(begun) = begun.take()
        {
            begun()?;
        }
    }
    ensure!(received == bytes, "the connection ended after {received} of {bytes} bytes");
    Ok((last - start, longest_stall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_reads_on_from_any_place_in_its_period() {
        let pattern = pattern();
        assert_eq!(pattern[PERIOD_BYTES..], pattern[..CHUNK_BYTES]);
    }
}
