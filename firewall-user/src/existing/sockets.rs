//! What this machine's own sockets are connected to: sock_diag(7).
//!
//! Sources: include/uapi/linux/inet_diag.h, and `tcp_get_info` in net/ipv4/tcp.c.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use netlink_packet_core::{DecodeError, Emitable as _, Parseable as _};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY, TCP_CLOSE, TCP_CLOSE_WAIT,
    TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN,
    TCP_SYN_SENT, TCP_TIME_WAIT, TCPI_OPT_WSCALE,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::netlink::{ListError, Request, list};

use super::{Existing, Origin, Progress, Tuple, valid_scale};

/// In `struct tcp_info`: `tcpi_options`, and behind it `tcpi_snd_wscale` and `tcpi_rcv_wscale`, which share
/// a byte.
const OPTIONS_AT: usize = 5;
const SCALES_AT: usize = 6;

/// The sockets of TCP and UDP.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// By IP protocol and the tuple of what the socket sends.
    pub(super) connected: HashMap<(u8, Tuple), Socket>,
    /// IP protocol and port that this machine accepts connections on, or datagrams from anybody.
    accepting: HashSet<(u8, u16)>,
}

/// A socket that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) state: Progress,
    /// TCP: the window scale in force for windows that this machine sends.
    pub(super) local_scale: Option<u8>,
    /// TCP: the one for windows that it receives.
    pub(super) remote_scale: Option<u8>,
}

/// Lists all sockets.
pub(super) fn read(notes: &mut Vec<String>) -> Result<Sockets> {
    let mut sockets = Sockets::default();
    for (protocol, protocol_name) in [(IPPROTO_TCP, "TCP"), (IPPROTO_UDP, "UDP")] {
        for (family, family_name) in [(AF_INET, "IPv4"), (AF_INET6, "IPv6")] {
            let what = format!("sockets of {protocol_name} over {family_name}");
            let request = request(protocol, family);
            let listed =
                list(&request, |sockets: &mut Sockets, message| sockets.add(protocol, message));
            match listed {
                Ok(listed) => {
                    sockets.connected.extend(listed.collected.connected);
                    sockets.accepting.extend(listed.collected.accepting);
                    if listed.not_understood > 0 {
                        notes.push(format!(
                            "{what} that could not be understood and are left out: {}",
                            listed.not_understood
                        ));
                    }
                    if listed.inconsistent {
                        notes.push(format!(
                            "this machine's {what} changed each time they were read: some may be missing"
                        ));
                    }
                }
                Err(ListError::Unavailable(error)) => notes.push(format!(
                    "this kernel does not list {what} ({error}): what this machine itself is connected to \
                     is known only as far as the kernel tracks connections"
                )),
                Err(error @ ListError::Failed(_)) => {
                    return Err(error).with_context(|| format!("cannot list this machine's {what}"));
                }
            }
        }
    }
    Ok(sockets)
}

/// Asks for all that are connected, and for those that tell which ports are served.
fn request(protocol: u8, family: u8) -> Request {
    let (states, extensions) = if protocol == IPPROTO_TCP {
        // Not SYN_RECV: the listener's list of them is no socket yet, and the peer repeats its SYN.
        let states = StateFlags::ESTABLISHED
            | StateFlags::SYN_SENT
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::TIME_WAIT
            | StateFlags::CLOSE_WAIT
            | StateFlags::LAST_ACK
            | StateFlags::CLOSING
            | StateFlags::LISTEN;
        (states, ExtensionFlags::INFO)
    } else {
        // UDP borrows TCP's names: connected, or not.
        (StateFlags::ESTABLISHED | StateFlags::CLOSE, ExtensionFlags::empty())
    };
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let inner = InetRequest { family, protocol, extensions, states, socket_id };
    let mut body = vec![0; inner.buffer_len()];
    inner.emit(&mut body);
    Request {
        protocol: NETLINK_SOCK_DIAG,
        question: SOCK_DIAG_BY_FAMILY,
        answer: SOCK_DIAG_BY_FAMILY,
        body,
    }
}

impl Sockets {
    /// Adds the socket that `message` describes: what follows the netlink header.
    fn add(&mut self, protocol: u8, message: &[u8]) -> Result<(), DecodeError> {
        let InetResponse { header, nlas } = InetResponse::parse(message)?;
        let id = &header.socket_id;
        // An IPv6 socket that speaks IPv4 shows it as ::ffff:a.b.c.d.
        let tuple = Tuple {
            source: id.source_address.to_canonical(),
            destination: id.destination_address.to_canonical(),
            source_port: id.source_port,
            destination_port: id.destination_port,
        };
        let state = match (protocol, header.state) {
            (IPPROTO_TCP, TCP_LISTEN) | (IPPROTO_UDP, TCP_CLOSE) => {
                self.accepting.insert((protocol, tuple.source_port));
                return Ok(());
            }
            (IPPROTO_TCP, state) => tcp_progress(state)?,
            _ => Progress::Datagrams,
        };
        if tuple.version().is_none() {
            return Err("the socket's ends are of different IP versions".into());
        }
        // A UDP socket may be connected to an address and no port, or the other way round: to nobody.
        let whole = tuple.source_port != 0
            && tuple.destination_port != 0
            && !tuple.source.is_unspecified()
            && !tuple.destination.is_unspecified();
        if !whole || tuple.is_loopback() {
            return Ok(());
        }
        let mut socket = Socket { state, local_scale: None, remote_scale: None };
        // In SYN_SENT what will be in force is open.
        if protocol == IPPROTO_TCP && state != Progress::HalfOpen {
            let info = nlas.iter().find_map(|nla| match nla {
                Nla::TcpInfo(info) => Some(&info[..]),
                _ => None,
            });
            // TIME_WAIT has none.
            if let Some([local, remote]) = info.and_then(scales) {
                (socket.local_scale, socket.remote_scale) =
                    (valid_scale(local), valid_scale(remote));
            }
        }
        self.connected.insert((protocol, tuple), socket);
        Ok(())
    }

    /// Takes out the socket that sends in `direction`.
    pub(super) fn take(&mut self, protocol: u8, direction: Tuple) -> Option<Socket> {
        self.connected.remove(&(protocol, direction))
    }

    /// The connections of these sockets, each once, also if both ends are on this machine.
    pub(super) fn connections(&self) -> impl Iterator<Item = Existing> {
        self.connected.iter().filter_map(|(&(protocol, tuple), socket)| {
            let reversed = tuple.reversed();
            if tuple > reversed && self.connected.contains_key(&(protocol, reversed)) {
                return None;
            }
            let scales = [socket.local_scale, socket.remote_scale];
            let (original, reply, scales) =
                if self.accepting.contains(&(protocol, tuple.source_port)) {
                    (reversed, tuple, [scales[1], scales[0]])
                } else {
                    (tuple, reversed, scales)
                };
            Some(Existing {
                version: tuple.version()?,
                protocol,
                original,
                reply,
                state: socket.state,
                scales,
                answered: matches!(
                    socket.state,
                    Progress::Established | Progress::HalfClosed | Progress::Closing
                ),
                expires_in_s: None,
                from: Origin::Socket,
            })
        })
    }
}

/// How far a TCP socket in `state` has come.
fn tcp_progress(state: u8) -> Result<Progress, DecodeError> {
    match state {
        TCP_SYN_SENT => Ok(Progress::HalfOpen),
        TCP_ESTABLISHED => Ok(Progress::Established),
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_CLOSE_WAIT => Ok(Progress::HalfClosed),
        TCP_CLOSING | TCP_LAST_ACK | TCP_TIME_WAIT => Ok(Progress::Closing),
        other => Err(format!("TCP state {other} was not asked for").into()),
    }
}

/// The window scales of this machine and of its peer, from a `struct tcp_info` of whatever length this
/// kernel gives it.
fn scales(info: &[u8]) -> Option<[u8; 2]> {
    let (options, scales) = (info.get(OPTIONS_AT)?, info.get(SCALES_AT)?);
    if options & TCPI_OPT_WSCALE == 0 {
        return Some([0, 0]);
    }
    // Bit fields begin at the lower end of a byte on little-endian machines.
    let [first, second] = [scales & 0xf, scales >> 4];
    // snd_wscale is for windows that this machine is sent, so the peer has asked for it.
    let [peer, own] =
        if cfg!(target_endian = "little") { [first, second] } else { [second, first] };
    Some([own, peer])
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        slice,
    };

    use proptest::prelude::*;

    use super::*;

    const TCP_SYN_RECV: u8 = 3;

    /// `struct inet_diag_msg`, then attributes.
    fn message(state: u8, local: &str, remote: &str, attributes: &[Nla]) -> Vec<u8> {
        let ends = [local, remote].map(|end| end.parse::<SocketAddr>().unwrap());
        let family = if ends[0].is_ipv4() { AF_INET } else { AF_INET6 };
        let mut message = vec![family, state, 0, 0];
        message.extend(ends.map(|end| end.port().to_be_bytes()).concat());
        for end in ends {
            let mut address = match end.ip() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            address.resize(16, 0);
            message.extend(address);
        }
        message.extend([0; 4 + 8 + 5 * 4]);
        for attribute in attributes {
            let mut bytes = vec![0; attribute.buffer_len()];
            attribute.emit(&mut bytes);
            message.extend(bytes);
        }
        message
    }

    /// A `struct tcp_info` of the given options and scales.
    fn info(options: u8, [own, peer]: [u8; 2]) -> Nla {
        let mut info = vec![0; 104];
        info[OPTIONS_AT] = options;
        info[SCALES_AT] =
            if cfg!(target_endian = "little") { peer | own << 4 } else { peer << 4 | own };
        Nla::TcpInfo(info)
    }

    fn connections(protocol: u8, messages: &[Vec<u8>]) -> Vec<Existing> {
        let mut sockets = Sockets::default();
        for message in messages {
            sockets.add(protocol, message).unwrap();
        }
        sockets.connections().collect()
    }

    fn tuple(source: &str, destination: &str) -> Tuple {
        let [source, destination] =
            [source, destination].map(|end| end.parse::<SocketAddr>().unwrap());
        Tuple {
            source: source.ip(),
            destination: destination.ip(),
            source_port: source.port(),
            destination_port: destination.port(),
        }
    }

    #[test]
    fn who_listens_on_its_port_answers_and_who_does_not_began() {
        let [here, there] = ["10.0.0.1:22", "10.0.0.2:40000"];
        let established = message(TCP_ESTABLISHED, here, there, &[info(TCPI_OPT_WSCALE, [7, 9])]);
        let expected = Existing {
            version: 4,
            protocol: IPPROTO_TCP,
            original: tuple(here, there),
            reply: tuple(there, here),
            state: Progress::Established,
            scales: [Some(7), Some(9)],
            answered: true,
            expires_in_s: None,
            from: Origin::Socket,
        };
        let mut messages = vec![established];
        assert_eq!(connections(IPPROTO_TCP, &messages), slice::from_ref(&expected));

        messages.push(message(TCP_LISTEN, "[::]:22", "[::]:0", &[info(0, [0, 0])]));
        let accepted = Existing {
            original: expected.reply,
            reply: expected.original,
            scales: [Some(9), Some(7)],
            ..expected
        };
        assert_eq!(connections(IPPROTO_TCP, &messages), [accepted]);
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let [here, there] = ["[::ffff:10.0.0.1]:40000", "[::ffff:10.0.0.2]:554"];
        let found = connections(IPPROTO_TCP, &[message(TCP_FIN_WAIT2, here, there, &[])]);
        assert_eq!(found[0].version, 4);
        assert_eq!(found[0].original, tuple("10.0.0.1:40000", "10.0.0.2:554"));
        assert_eq!((found[0].state, found[0].scales), (Progress::HalfClosed, [None, None]));
    }

    #[test]
    fn scales_are_those_in_force() {
        let found = |state, options| {
            let info = [info(options, [14, 15])];
            connections(IPPROTO_TCP, &[message(state, "[fd00::1]:1", "[fd00::2]:2", &info)])[0]
                .scales
        };
        assert_eq!(found(TCP_ESTABLISHED, TCPI_OPT_WSCALE), [Some(14), None]);
        assert_eq!(found(TCP_ESTABLISHED, !TCPI_OPT_WSCALE), [Some(0), Some(0)]);
        assert_eq!(found(TCP_SYN_SENT, 0), [None, None]);
    }

    #[test]
    fn what_is_connected_to_nobody_or_to_itself_is_left_out() {
        let udp = |local, remote| {
            connections(IPPROTO_UDP, &[message(TCP_ESTABLISHED, local, remote, &[])]).len()
        };
        assert_eq!(udp("10.0.0.1:5000", "10.0.0.2:53"), 1);
        assert_eq!(udp("127.0.0.1:5000", "127.0.0.53:53"), 0);
        assert_eq!(udp("[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]:53"), 0);
        assert_eq!(udp("[::1]:5000", "[::1]:53"), 0);
        assert_eq!(udp("127.0.0.1:5000", "10.0.0.2:53"), 1);
        assert_eq!(udp("10.0.0.1:5000", "10.0.0.2:0"), 0);
        assert_eq!(udp("0.0.0.0:5000", "0.0.0.0:0"), 0);
    }

    #[test]
    fn two_ends_on_this_machine_are_one_connection() {
        let [here, there] = ["10.0.0.1:40000", "10.0.0.2:554"];
        for swapped in [false, true] {
            let listening = if swapped { here } else { there };
            let found = connections(
                IPPROTO_TCP,
                &[
                    message(TCP_ESTABLISHED, here, there, &[info(TCPI_OPT_WSCALE, [7, 9])]),
                    message(TCP_ESTABLISHED, there, here, &[info(TCPI_OPT_WSCALE, [9, 7])]),
                    message(TCP_LISTEN, listening, "0.0.0.0:0", &[]),
                ],
            );
            assert_eq!(found.len(), 1);
            let (original, scales) =
                if swapped { (tuple(there, here), [9, 7]) } else { (tuple(here, there), [7, 9]) };
            assert_eq!((found[0].original, found[0].scales), (original, scales.map(Some)));
        }
    }

    #[test]
    fn a_state_that_was_not_asked_for_is_not_understood() {
        let message = message(TCP_SYN_RECV, "10.0.0.1:1", "10.0.0.2:2", &[]);
        assert!(Sockets::default().add(IPPROTO_TCP, &message).is_err());
    }

    #[test]
    fn a_message_cut_anywhere_is_refused_or_right_as_far_as_it_goes() {
        let attributes = [info(TCPI_OPT_WSCALE, [7, 9]), Nla::Mark(1)];
        let whole = message(TCP_ESTABLISHED, "10.0.0.1:1", "10.0.0.2:2", &attributes);
        for length in 0..whole.len() {
            let mut sockets = Sockets::default();
            if sockets.add(IPPROTO_TCP, &whole[..length]).is_ok() {
                let found: Vec<_> = sockets.connections().collect();
                assert_eq!(found[0].original, tuple("10.0.0.1:1", "10.0.0.2:2"));
                assert!(matches!(found[0].scales, [None, None] | [Some(7), Some(9)]));
            }
        }
        for length in 0..=SCALES_AT {
            assert_eq!(scales(&[0xff; SCALES_AT][..length]), None, "tcp_info of {length} bytes");
        }
    }

    #[test]
    fn a_request_is_as_long_as_the_kernel_s_struct() {
        for family in [AF_INET, AF_INET6] {
            // struct inet_diag_req_v2
            assert_eq!(request(IPPROTO_TCP, family).body.len(), 56);
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>, protocol in prop_oneof![Just(6_u8), Just(17)]) {
            let mut sockets = Sockets::default();
            let _ = sockets.add(protocol, &bytes);
            let mut message = message(TCP_ESTABLISHED, "10.0.0.1:1", "10.0.0.2:2", &[]);
            message.extend(bytes);
            let _ = sockets.add(protocol, &message);
            let _ = sockets.connections().count();
        }
    }
}
