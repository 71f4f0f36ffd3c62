//! epoll(7), for peers that serve many connections by one thread.

use std::{
    io,
    net::TcpStream,
    os::fd::{AsRawFd as _, RawFd},
};

/// Events that one call takes.
const EVENTS: usize = 256;

/// Tells which of some sockets have something to read.
pub(super) struct Poll(RawFd);

impl Poll {
    pub(super) fn new(streams: &[TcpStream]) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let poll = Self(check(fd)?);
        for (number, stream) in streams.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
            // SAFETY: `event` lives across the call.
            check(unsafe {
                libc::epoll_ctl(poll.0, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event)
            })?;
        }
        Ok(poll)
    }

    /// Numbers of those that have, after at most `timeout` milliseconds.
    pub(super) fn wait(&self, timeout: i32) -> io::Result<impl Iterator<Item = usize> + use<>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: `events` has room for as many as are asked for.
        let result =
            unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), EVENTS as i32, timeout) };
        let count = match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        Ok(events.into_iter().take(count as usize).map(|event| event.u64 as usize))
    }

    pub(super) fn forget(&self, stream: &TcpStream) -> io::Result<()> {
        // SAFETY: no event is needed to take one out.
        check(unsafe {
            libc::epoll_ctl(self.0, libc::EPOLL_CTL_DEL, stream.as_raw_fd(), std::ptr::null_mut())
        })
        .map(drop)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's own.
        unsafe { libc::close(self.0) };
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
