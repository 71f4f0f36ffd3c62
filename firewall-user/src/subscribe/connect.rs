//! A short talk with the controller, which may be stuck: whoever waits for it does so for seconds and no longer.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, socket,
};

/// A controller that takes or says nothing for so long is stuck, or at its end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the controller's socket at `path`. Reading and writing end with an error where nothing comes of it for
/// five seconds.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`]: as many wait already as may, so the controller does not look. Connecting would wait
/// as long as it does not, whatever timeouts a stream has.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect_to(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
