//! What the controller says on standard error.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Lines for which there was no room since the last one that was said.
static UNSAID: AtomicU64 = AtomicU64::new(0);

/// Says it on standard error, to whoever listens there. Where nobody does and what lies there is full, it is left out,
/// which the next line says: the firewall goes on. Of a pipe that holds of lines up to a page, whose room is counted in
/// pages (`pipe_poll` in fs/pipe.c).
pub(crate) fn say(what: &str) {
    say_to(io::stderr(), &UNSAID, what);
}

fn say_to(mut to: impl AsFd + Write, unsaid: &AtomicU64, what: &str) {
    let mut asked = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    if matches!(poll(&mut asked, PollTimeout::ZERO), Ok(0)) {
        unsaid.fetch_add(1, Relaxed);
        return;
    }
    let line = match unsaid.swap(0, Relaxed) {
        0 => format!("fwx: {what}\n"),
        count => format!("fwx: (nobody read here: {count} lines are left out)\nfwx: {what}\n"),
    };
    let _ = to.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _};

    use super::*;

    #[test]
    fn nobody_is_waited_for_who_does_not_read() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let (mut reader, writer) = (File::from(reader), File::from(writer));
        let unsaid = AtomicU64::new(0);
        let long = "x".repeat(3_000);
        // A pipe has room for 16 pages.
        while unsaid.load(Relaxed) < 2 {
            say_to(&writer, &unsaid, &long);
        }
        reader.read_exact(&mut [0; 8_192]).unwrap();
        say_to(&writer, &unsaid, "there is room");
        drop(writer);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let end = "\nfwx: (nobody read here: 2 lines are left out)\nfwx: there is room\n";
        assert!(said.ends_with(end), "{}", &said[said.len() - 200..]);
    }
}
