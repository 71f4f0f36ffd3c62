//! Having the kernel list a table, or change an entry, over netlink: netlink(7), RFC 3549 §2.3.
//!
//! The lists may be long, so they are never kept as messages: each is handed on as it comes. A list that
//! changed while it was read (NLM_F_DUMP_INTR) is read again.

use std::{io, time::Duration};

use netlink_packet_core::{
    DecodeError, DoneBuffer, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader,
};
use netlink_sys::{Socket, SocketAddr};
use nix::{
    libc::{EAFNOSUPPORT, EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT, MSG_TRUNC},
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};

/// How often a list is read until it did not change meanwhile.
const ATTEMPTS: u32 = 4;

/// How long the kernel may take for one datagram. It answers at once; this is against waiting for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for a datagram: the kernel fills up to 32 KiB (`netlink_recvmsg` in net/netlink/af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;

/// Length of a message's header, in bytes.
const HEADER_BYTES: usize = 16;

/// A table to list.
pub(crate) struct Request {
    /// Netlink protocol, e.g. NETLINK_NETFILTER.
    pub(crate) protocol: isize,
    /// Type of the message that asks.
    pub(crate) question: u16,
    /// Type of the messages that answer.
    pub(crate) answer: u16,
    /// What follows the header of the message that asks.
    pub(crate) body: Vec<u8>,
}

/// A table that was listed.
#[derive(Debug, Default)]
pub(crate) struct Listed<C> {
    /// What was made of the messages.
    pub(crate) collected: C,
    /// How many messages could not be understood.
    pub(crate) not_understood: usize,
    /// The table changed while it was read, so something may be missing or there twice.
    pub(crate) inconsistent: bool,
}

/// Why a table was not listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// The kernel has no such table.
    #[error("{0}")]
    Unavailable(io::Error),
    /// It has one, and something else went wrong.
    #[error("{0}")]
    Failed(io::Error),
}

/// Lists a table: gives the content of each message to `take`, which adds it to what is collected.
pub(crate) fn list<C: Default>(
    request: &Request,
    mut take: impl FnMut(&mut C, &[u8]) -> Result<(), DecodeError>,
) -> Result<Listed<C>, ListError> {
    until_consistent(|| list_once(request, &mut take))
}

/// Repeats `attempt` until it is consistent, [`ATTEMPTS`] times at most. What an attempt before collected
/// is let go of first.
fn until_consistent<C>(
    mut attempt: impl FnMut() -> Result<Listed<C>, ListError>,
) -> Result<Listed<C>, ListError> {
    for _ in 1..ATTEMPTS {
        let listed = attempt()?;
        if !listed.inconsistent {
            return Ok(listed);
        }
    }
    attempt()
}

fn list_once<C: Default>(
    request: &Request,
    take: &mut impl FnMut(&mut C, &[u8]) -> Result<(), DecodeError>,
) -> Result<Listed<C>, ListError> {
    // A socket of its own for each attempt, so that nothing of the one before is in it.
    let socket = Socket::new(request.protocol).map_err(classified)?;
    connect(&socket).map_err(ListError::Failed)?;
    let question = message(request.question, NLM_F_REQUEST | NLM_F_DUMP, &request.body);
    socket.send(&question, 0).map_err(ListError::Failed)?;

    let mut listed = Listed::default();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let length = receive(&socket, &mut buffer).map_err(ListError::Failed)?;
        let Some(datagram) = buffer.get(..length).filter(|datagram| !datagram.is_empty()) else {
            let message = format!("a datagram of {length} bytes, which cannot be read");
            return Err(ListError::Failed(io::Error::other(message)));
        };
        if read_datagram(datagram, request.answer, &mut listed, take)? == Reading::Ended {
            return Ok(listed);
        }
    }
}

/// Has the kernel do one thing, and waits until it did or says why not.
pub(crate) fn tell(protocol: isize, kind: u16, body: &[u8]) -> io::Result<()> {
    let socket = Socket::new(protocol)?;
    connect(&socket)?;
    socket.send(&message(kind, NLM_F_REQUEST | NLM_F_ACK, body), 0)?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let length = receive(&socket, &mut buffer)?;
    let answer = NetlinkBuffer::new_checked(buffer.get(..length).unwrap_or_default())
        .map_err(io::Error::other)?;
    if answer.message_type() != NLMSG_ERROR {
        return Err(io::Error::other("the kernel answers with something else"));
    }
    let code = ErrorBuffer::new_checked(answer.payload()).map_err(io::Error::other)?.code();
    match code.map_or(0, i32::from) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_abs())),
    }
}

/// Connects to the kernel: what anybody else sends is not taken.
fn connect(socket: &Socket) -> io::Result<()> {
    socket.connect(&SocketAddr::new(0, 0))?;
    let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(socket, sockopt::ReceiveTimeout, &patience)?;
    Ok(())
}

/// The length of the next datagram, which is larger than `buffer` if it did not fit.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(&mut &mut *buffer, MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let message = format!("no answer from the kernel within {} s", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            other => return other,
        }
    }
}

/// Whether more is to come.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Continues,
    Ended,
}

/// Reads the messages of one datagram.
fn read_datagram<C>(
    mut datagram: &[u8],
    answer: u16,
    listed: &mut Listed<C>,
    take: &mut impl FnMut(&mut C, &[u8]) -> Result<(), DecodeError>,
) -> Result<Reading, ListError> {
    while !datagram.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            // Where the next one begins is not known.
            listed.not_understood += 1;
            break;
        };
        listed.inconsistent |= message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            NLMSG_NOOP => {}
            NLMSG_DONE => {
                // Empty, or with the error that ended the list.
                let code = DoneBuffer::new_checked(message.payload()).map_or(0, |done| done.code());
                return ended(code);
            }
            NLMSG_ERROR => {
                let error = ErrorBuffer::new_checked(message.payload())
                    .map_err(|error| ListError::Failed(io::Error::other(error)))?;
                return ended(error.code().map_or(0, i32::from));
            }
            NLMSG_OVERRUN => {
                return Err(ListError::Failed(io::Error::other("the kernel lost messages")));
            }
            other if other == answer => {
                let taken = take(&mut listed.collected, message.payload());
                listed.not_understood += usize::from(taken.is_err());
            }
            _ => listed.not_understood += 1,
        }
        let length = (message.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(Reading::Continues)
}

/// The end of a list, with the negative error number or 0 that the kernel gives.
fn ended(code: i32) -> Result<Reading, ListError> {
    if code == 0 {
        return Ok(Reading::Ended);
    }
    Err(classified(io::Error::from_raw_os_error(code.saturating_abs())))
}

/// What the kernel says when it was built without what is asked for. nfnetlink answers EINVAL for a
/// subsystem that it does not know (`nfnetlink_rcv_msg`), sock_diag ENOENT (`inet_diag_lock_handler`).
fn classified(error: io::Error) -> ListError {
    match error.raw_os_error() {
        Some(EAFNOSUPPORT | EINVAL | ENOENT | EOPNOTSUPP | EPROTONOSUPPORT) => {
            ListError::Unavailable(error)
        }
        _ => ListError::Failed(error),
    }
}

/// A message, without padding behind it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER_BYTES];
    message.extend(body);
    let mut header = NetlinkHeader::default();
    header.length = message.len() as u32;
    header.message_type = kind;
    header.flags = flags;
    netlink_packet_core::Emitable::emit(&header, &mut message);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: u16 = 0x100;

    /// A message, padded as the kernel does.
    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut message = super::message(kind, flags, body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn read(datagram: &[u8]) -> (Result<Reading, ListError>, Listed<Vec<Vec<u8>>>) {
        let mut listed = Listed::default();
        let mut take = |collected: &mut Vec<Vec<u8>>, body: &[u8]| {
            collected.push(body.to_vec());
            if body.starts_with(b"?") { Err("not understood".into()) } else { Ok(()) }
        };
        (read_datagram(datagram, ANSWER, &mut listed, &mut take), listed)
    }

    #[test]
    fn a_datagram_holds_several_messages_up_to_the_end_of_the_list() {
        let datagram = [
            message(ANSWER, 0, b"one"),
            message(NLMSG_NOOP, 0, b""),
            message(ANSWER, 0, b"two.."),
            message(NLMSG_DONE, 0, &[0; 4]),
            message(ANSWER, 0, b"behind the end"),
        ]
        .concat();
        let (reading, listed) = read(&datagram);
        assert_eq!(reading.unwrap(), Reading::Ended);
        assert_eq!(listed.collected, [&b"one"[..], b"two.."]);
        assert_eq!((listed.not_understood, listed.inconsistent), (0, false));
    }

    #[test]
    fn what_is_not_understood_is_counted_and_the_rest_is_read() {
        let datagram = [
            message(ANSWER, 0, b"?"),
            message(ANSWER + 1, 0, b"another type"),
            message(ANSWER, 0, b"fine"),
        ]
        .concat();
        let (reading, listed) = read(&datagram);
        assert_eq!(reading.unwrap(), Reading::Continues);
        assert_eq!(listed.collected.last().unwrap(), b"fine");
        assert_eq!(listed.not_understood, 2);
    }

    #[test]
    fn a_datagram_cut_anywhere_is_read_as_far_as_it_goes() {
        let whole = [message(ANSWER, 0, b"four"), message(ANSWER, 0, b"five.")].concat();
        for length in 0..whole.len() {
            let (reading, listed) = read(&whole[..length]);
            assert_eq!(reading.unwrap(), Reading::Continues);
            // The last message's padding may be missing.
            let messages = usize::from(length >= 20) + usize::from(length >= 41);
            assert_eq!(listed.collected.len(), messages, "{length} bytes");
            let cut = !matches!(length, 0 | 20 | 41..);
            assert_eq!(listed.not_understood, usize::from(cut), "{length} bytes");
        }
    }

    #[test]
    fn the_kernel_s_errors_are_told_apart() {
        let code = |code: i32| (-code).to_ne_bytes();
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            let (reading, _) = read(&message(kind, 0, &code(ENOENT)));
            assert!(matches!(reading, Err(ListError::Unavailable(_))), "{reading:?}");
            let (reading, _) = read(&message(kind, 0, &code(nix::libc::EPERM)));
            assert!(matches!(reading, Err(ListError::Failed(_))), "{reading:?}");
            let (reading, _) = read(&message(kind, 0, &code(0)));
            assert_eq!(reading.unwrap(), Reading::Ended);
        }
        assert_eq!(read(&message(NLMSG_DONE, 0, b"")).0.unwrap(), Reading::Ended);
        assert!(matches!(read(&message(NLMSG_ERROR, 0, b"")).0, Err(ListError::Failed(_))));
    }

    #[test]
    fn a_list_that_changed_is_read_again_and_accepted_in_the_end() {
        let (_, listed) = read(&message(ANSWER, NLM_F_DUMP_INTR, b"one"));
        assert!(listed.inconsistent);

        for (consistent_at, read_times, inconsistent) in
            [(1, 1, false), (3, 3, false), (9, 4, true)]
        {
            let mut times = 0;
            let listed = until_consistent(|| {
                times += 1;
                Ok(Listed {
                    collected: times,
                    not_understood: 0,
                    inconsistent: times < consistent_at,
                })
            })
            .unwrap();
            assert_eq!((listed.collected, listed.inconsistent), (read_times, inconsistent));
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(datagram: Vec<u8>, length in 0_u8..64) {
            let _ = read(&datagram);
            // With a length that has something to it.
            let mut datagram = datagram;
            if datagram.len() >= HEADER_BYTES {
                datagram[..4].copy_from_slice(&u32::from(length).to_ne_bytes());
                let _ = read(&datagram);
            }
        }
    }
}
