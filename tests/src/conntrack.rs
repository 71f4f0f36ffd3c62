//! The kernel's own connection tracking, as far as it gets in the way: a table that a measurement has filled.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

use crate::host::Host;

/// Of a message and of one that answers it: `struct nlmsghdr`, `include/uapi/linux/netlink.h`.
const HEADER_LEN: usize = 16;
/// `struct nfgenmsg`, `include/uapi/linux/netfilter/nfnetlink.h`: any address family, version 0, no resource.
const GENERAL: [u8; 4] = [0; 4];
/// `IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK`: without a tuple it means all of them.
const DELETE: u16 = 1 << 8 | 2;

/// Has the kernel of `host` forget every connection that it tracks for nftables and iptables.
pub fn forget_all(host: &Host) -> Result<()> {
    host.run(flush)?.with_context(|| format!("cannot flush conntrack on the {}", host.role()))
}

/// In the network namespace of this thread.
fn flush() -> Result<()> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("no netlink socket")?;
    let request = request();
    let sent = send(netlink.as_raw_fd(), &request, MsgFlags::empty()).context("not sent")?;
    ensure!(sent == request.len(), "sent {sent} of {} bytes", request.len());
    let mut answer = [0; 256];
    let len = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).context("no answer")?;
    acknowledged(answer.get(..len).unwrap_or_default())
}

fn request() -> Vec<u8> {
    let len = (HEADER_LEN + GENERAL.len()) as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let (sequence, sender) = (1_u32, 0_u32);
    let mut request = Vec::new();
    request.extend(len.to_ne_bytes());
    request.extend(DELETE.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend(sender.to_ne_bytes());
    request.extend(GENERAL);
    request
}

/// Whether the answer is one that says that all went well: `struct nlmsgerr` with 0 in it.
fn acknowledged(answer: &[u8]) -> Result<()> {
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    ensure!(kind == Some(libc::NLMSG_ERROR as u16), "the answer is of kind {kind:?}");
    let error = answer.get(HEADER_LEN..).and_then(|error| error.first_chunk::<4>());
    match error.map(|error| i32::from_ne_bytes(*error)) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(-error)).context("refused"),
        None => bail!("an answer of {} bytes", answer.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, error: i32) -> Vec<u8> {
        let mut answer = vec![0; HEADER_LEN];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer
    }

    #[test]
    fn only_an_acknowledgment_without_an_error_is_one() {
        let kind = libc::NLMSG_ERROR as u16;
        assert!(acknowledged(&answer(kind, 0)).is_ok());
        let refused = acknowledged(&answer(kind, -libc::EPERM)).unwrap_err();
        assert!(format!("{refused:#}").contains("EPERM"), "{refused:#}");
        assert!(acknowledged(&answer(kind + 1, 0)).is_err());
        assert!(acknowledged(&answer(kind, 0)[..18]).is_err());
        assert!(acknowledged(&[]).is_err());
    }

    #[test]
    fn a_request_is_as_long_as_it_says() {
        let request = request();
        assert_eq!(request[..4], (request.len() as u32).to_ne_bytes());
    }
}
