//! Bulk TCP: as many bytes as asked for in one connection, each of them checked at the other end.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::host::Host;

/// How much is handed to the kernel at once: it makes segments of up to 64 KiB of it.
const CHUNK_BYTES: usize = 256 * 1024;

/// The pattern repeats after this many bytes. A prime, so that no loss of a power of two goes unseen.
const PERIOD_BYTES: usize = 65_521;

/// How long either side waits for the other before the transfer counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `bytes` bytes from `sender` to `receiver`, which listens at `address`. An error when they do
/// not arrive whole and in order.
pub fn transfer(sender: &Host, receiver: &Host, address: SocketAddr, bytes: usize) -> Result<()> {
    let listener = receiver
        .run(|| TcpListener::bind(address))?
        .with_context(|| format!("cannot listen at {address}"))?;
    let pattern = pattern();
    let outgoing = sender
        .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
        .with_context(|| format!("cannot connect from the {} to {address}", sender.role()))?;
    let (incoming, _) = listener.accept().context("cannot accept the connection")?;

    thread::scope(|scope| {
        let sending = scope.spawn(|| send(outgoing, &pattern, bytes).context("while sending"));
        let received = receive(incoming, &pattern, bytes).context("while receiving");
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        received.and(sent)
    })
}

/// Long enough that a chunk can begin anywhere in its first period.
fn pattern() -> Vec<u8> {
    let period = (0..PERIOD_BYTES).map(|index| (index ^ (index >> 8)) as u8);
    period.cycle().take(PERIOD_BYTES + CHUNK_BYTES).collect()
}

fn send(mut stream: TcpStream, pattern: &[u8], bytes: usize) -> Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut sent = 0;
    while sent < bytes {
        let start = sent % PERIOD_BYTES;
        let length = CHUNK_BYTES.min(bytes - sent);
        stream
            .write_all(&pattern[start..start + length])
            .with_context(|| format!("after {sent} of {bytes} bytes"))?;
        sent += length;
    }
    Ok(())
}

fn receive(mut stream: TcpStream, pattern: &[u8], bytes: usize) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut received = 0;
    loop {
        let read = stream
            .read(&mut buffer)
            .with_context(|| format!("after {received} of {bytes} bytes"))?;
        if read == 0 {
            break;
        }
        let start = received % PERIOD_BYTES;
        if buffer[..read] != pattern[start..start + read] {
            bail!("wrong content between byte {received} and byte {}", received + read);
        }
        received += read;
    }
    ensure!(received == bytes, "the connection ended after {received} of {bytes} bytes");
    Ok(())
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
