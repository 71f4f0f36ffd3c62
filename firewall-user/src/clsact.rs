//! Attachment by a filter of traffic control, where the kernel has no TCX (it came with Linux 6.6): tc-bpf(8).
//!
//! Such a filter stays until somebody removes it, so it outlives every process as a pinned link does; and its program
//! can be exchanged without a packet between (`cls_bpf_change` in the kernel's `net/sched/cls_bpf.c`). But anybody can
//! exchange or remove it. So what is ours is told by the program's id: the program is pinned beside where a link
//! would be, before it gets into the filter.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    ProgramInfo, SchedClassifier, TcAttachType,
    links::Link as _,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_indextoname;
use rtnetlink::{
    packet_core::{Emitable as _, Parseable as _},
    packet_route::tc::{
        self, TcAttribute, TcFilterBpf, TcFilterBpfOption, TcHeader, TcMessage, TcOption,
    },
};

use crate::{
    namespace,
    netlink::{ListError, Request, list, tell},
    object::os_error,
};

/// Before filters that got their priority from the kernel, which gives 49,152 and less to one after the other. One
/// of a smaller number comes first.
const PRIORITY: u16 = 7;
/// Ours among the filters of that priority: "fwx".
const HANDLE: u32 = 0x0066_7778;

/// Numbers of `include/uapi/linux/rtnetlink.h`.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;

const CLSACT: &str = "clsact";

/// One direction of an interface, and where the instance has its pins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The instance's directory of links.
    pub(crate) directory: &'a Path,
    /// The interface's index.
    pub(crate) index: u32,
    /// Ingress or egress.
    pub(crate) direction: TcAttachType,
}

/// What stands at our priority under our handle.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A BPF program with this id.
    Program(u32),
    /// Something else, of this kind.
    Other(String),
}

impl Place<'_> {
    /// The pin of the program that is in the filter.
    fn pin(&self) -> PathBuf {
        self.directory.join(format!("{}_{}_filter", self.index, name(self.direction)))
    }

    /// The pin of one that is about to be.
    fn next_pin(&self) -> PathBuf {
        self.directory.join(format!("{}_{}_filternext", self.index, name(self.direction)))
    }

    /// What says that the queueing discipline is this instance's too.
    fn qdisc_mark(&self) -> PathBuf {
        self.directory.join(format!("{}_{CLSACT}", self.index))
    }

    /// Whether this instance has a filter here.
    pub(crate) fn is_attached(&self) -> bool {
        self.pin().exists()
    }

    /// Attaches a program, or exchanges the one that this instance has here. `interface` is for messages.
    ///
    /// # Errors
    ///
    /// Something else is in our place, or the kernel refuses.
    pub(crate) fn attach(&self, classifier: &mut SchedClassifier, interface: &str) -> Result<()> {
        namespace::note(self.directory)?;
        self.ensure_qdisc(interface)?;
        let create = match self.find()? {
            Found::Nothing => true,
            Found::Program(id) if self.own_ids()?.contains(&id) => false,
            found => bail!("{}", self.is_taken(interface, &found)),
        };
        // In this order, so that whatever is in the filter is pinned at any time.
        let next = self.next_pin();
        remove_file(&next)?;
        classifier.pin(&next).with_context(|| format!("cannot pin {}", next.display()))?;
        let put = if create {
            let handle = TcHandle::from(HANDLE);
            let options = NlOptions { priority: PRIORITY, handle, classid: None };
            classifier.attach_with_options(
                interface,
                self.direction,
                TcAttachOptions::Netlink(options),
            )
        } else {
            classifier.attach_to_link(self.filter(interface)?)
        };
        let link = put.and_then(|id| classifier.take_link(id)).map_err(|error| {
            let _ = fs::remove_file(&next);
            match os_error(&error) {
                Some(libc::EEXIST) => anyhow!("{}", self.is_taken(interface, &Found::Nothing)),
                _ => anyhow!(error)
                    .context(format!("cannot attach a filter of traffic control to {interface}")),
            }
        })?;
        // Dropped it would be detached.
        std::mem::forget(link);
        fs::rename(&next, self.pin())
            .with_context(|| format!("cannot pin {}", self.pin().display()))
    }

    /// Removes this instance's filter, if there is one. That the interface is gone, or that somebody removed the
    /// filter, is no error; a program of somebody else's in our place stays.
    pub(crate) fn detach(&self) -> Result<()> {
        if !self.is_attached() && !self.next_pin().exists() {
            return Ok(());
        }
        namespace::check(self.directory)?;
        if let Some(interface) = interface_name(self.index)
            && let Found::Program(id) = self.find()?
            && self.own_ids()?.contains(&id)
        {
            self.filter(&interface)?.detach().with_context(|| {
                format!("cannot remove the filter of traffic control from {interface}")
            })?;
        }
        remove_file(&self.next_pin())?;
        remove_file(&self.pin())
    }

    /// Removes the queueing discipline, if this instance made it and no filter is left in it.
    pub(crate) fn remove_qdisc(&self) -> Result<()> {
        let mark = self.qdisc_mark();
        if !mark.exists() {
            return Ok(());
        }
        namespace::check(self.directory)?;
        let is_empty = [TcAttachType::Ingress, TcAttachType::Egress]
            .into_iter()
            .map(|direction| Ok(filters(self.index, direction)?.is_empty()))
            .collect::<Result<Vec<_>>>()?;
        if is_empty.iter().all(|&is_empty| is_empty)
            && qdisc_kind(self.index)?.as_deref() == Some(CLSACT)
        {
            let body = body(&qdisc(self.index));
            tell(NETLINK_ROUTE, RTM_DELQDISC, &body).with_context(|| {
                format!("cannot remove the queueing discipline clsact of interface {}", self.index)
            })?;
        }
        fs::remove_dir(&mark).with_context(|| format!("cannot remove {}", mark.display()))
    }

    /// Makes the queueing discipline that has the filters, unless it is there.
    fn ensure_qdisc(&self, interface: &str) -> Result<()> {
        match qdisc_kind(self.index)?.as_deref() {
            Some(CLSACT) => return Ok(()),
            Some(other) => bail!(
                "{interface} has the queueing discipline {other} where fwx needs clsact: `tc qdisc del dev \
                 {interface} {other}` removes it, with its filters"
            ),
            None => {}
        }
        let mark = self.qdisc_mark();
        fs::create_dir_all(&mark).with_context(|| format!("cannot make {}", mark.display()))?;
        match qdisc_add_clsact(interface) {
            // Somebody was faster, and it is theirs.
            Err(error) if os_error(&error) == Some(libc::EEXIST) => {
                fs::remove_dir(&mark).with_context(|| format!("cannot remove {}", mark.display()))
            }
            added => added.map_err(|error: TcError| {
                let _ = fs::remove_dir(&mark);
                anyhow!(error).context(format!(
                    "cannot give {interface} the queueing discipline clsact (modules sch_ingress and cls_bpf)"
                ))
            }),
        }
    }

    /// The filter as aya knows it.
    fn filter(&self, interface: &str) -> Result<SchedClassifierLink> {
        let handle = TcHandle::from(HANDLE);
        SchedClassifierLink::attached(interface, self.direction, PRIORITY, handle, None)
            .with_context(|| format!("there is no interface {interface}"))
    }

    /// The ids of the programs that are ours.
    fn own_ids(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for pin in [self.pin(), self.next_pin()] {
            if pin.exists() {
                let info = ProgramInfo::from_pin(&pin)
                    .with_context(|| format!("cannot read {}", pin.display()))?;
                ids.push(info.id());
            }
        }
        Ok(ids)
    }

    fn find(&self) -> Result<Found> {
        let ours = filters(self.index, self.direction)?.into_iter().find(is_in_our_place);
        Ok(ours.map_or(Found::Nothing, |filter| content(&filter)))
    }

    fn is_taken(&self, interface: &str, found: &Found) -> String {
        let what = match found {
            Found::Program(id) => {
                format!("the BPF program {id}, of another instance or another tool")
            }
            Found::Other(kind) => format!("a filter {kind} of another tool"),
            Found::Nothing => "something that is not fwx's".to_owned(),
        };
        let direction = name(self.direction);
        format!(
            "{interface}: the place of fwx among the filters of traffic control, priority {PRIORITY} and handle \
             {HANDLE:#x} at {direction}, is taken by {what}: `fwx --instance NAME down` takes another instance \
             down, `tc filter show dev {interface} {direction}` shows it"
        )
    }
}

/// `ingress` or `egress`.
fn name(direction: TcAttachType) -> &'static str {
    match direction {
        TcAttachType::Ingress => "ingress",
        _ => "egress",
    }
}

fn interface_name(index: u32) -> Option<String> {
    if_indextoname(index).ok()?.into_string().ok()
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The kind of the queueing discipline that an interface has for packets that come in, or for both ways.
fn qdisc_kind(index: u32) -> Result<Option<String>> {
    let wanted = tc::TcHandle { major: tc::TcHandle::CLSACT.major, minor: 0 };
    let found = ask(RTM_GETQDISC, RTM_NEWQDISC, &qdisc(index))?;
    let of_interface = |message: &&TcMessage| {
        message.header.index == index.cast_signed() && message.header.handle == wanted
    };
    Ok(found.iter().find(of_interface).map(|message| kind(message).to_owned()))
}

fn qdisc(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = tc::TcHandle { major: tc::TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = tc::TcHandle::CLSACT;
    message
}

/// The filters of an interface in one direction.
fn filters(index: u32, direction: TcAttachType) -> Result<Vec<TcMessage>> {
    let mut message = TcMessage::with_index(index.cast_signed());
    let minor = match direction {
        TcAttachType::Ingress => tc::TcHandle::MIN_INGRESS,
        _ => tc::TcHandle::MIN_EGRESS,
    };
    message.header.parent = tc::TcHandle { major: tc::TcHandle::CLSACT.major, minor };
    ask(RTM_GETTFILTER, RTM_NEWTFILTER, &message)
}

/// Whether a filter has our priority and our handle. The list also has an entry of handle 0 for each priority.
fn is_in_our_place(filter: &TcMessage) -> bool {
    let TcHeader { info, handle, .. } = filter.header;
    info >> 16 == u32::from(PRIORITY) && u32::from(handle) == HANDLE
}

fn content(filter: &TcMessage) -> Found {
    let kind = kind(filter);
    if kind != TcFilterBpf::KIND {
        return Found::Other(kind.to_owned());
    }
    let options = filter.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let id = options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    });
    id.map_or_else(|| Found::Other("bpf (of the classic kind)".to_owned()), Found::Program)
}

fn kind(message: &TcMessage) -> &str {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    });
    kind.unwrap_or("of no kind")
}

fn body(message: &TcMessage) -> Vec<u8> {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    body
}

/// Has the kernel list what `message` asks for. What cannot be understood is of others.
fn ask(question: u16, answer: u16, message: &TcMessage) -> Result<Vec<TcMessage>> {
    let request = Request { protocol: NETLINK_ROUTE, question, answer, body: body(message) };
    let take = |found: &mut Vec<TcMessage>, body: &[u8]| {
        found.push(TcMessage::parse(body)?);
        Ok(())
    };
    match list(&request, take) {
        Ok(listed) => Ok(listed.collected),
        // The interface is gone, or the kernel has no traffic control.
        Err(ListError::Unavailable(_)) => Ok(Vec::new()),
        Err(ListError::Failed(error)) if error.raw_os_error() == Some(libc::ENODEV) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error).context("cannot ask what traffic control does on an interface"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(priority: u16, handle: u32, attributes: Vec<TcAttribute>) -> TcMessage {
        let mut message = TcMessage::with_index(3);
        message.header.info = u32::from(priority) << 16 | 0x0300;
        message.header.handle = handle.into();
        message.attributes = attributes;
        message
    }

    #[test]
    fn what_is_in_our_place_is_told_by_its_program() {
        let bpf = |id| {
            let options = vec![
                TcOption::Bpf(TcFilterBpfOption::ProgName("fwx_egress".to_owned())),
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)),
            ];
            vec![TcAttribute::Kind("bpf".to_owned()), TcAttribute::Options(options)]
        };
        let ours = filter(PRIORITY, HANDLE, bpf(17));
        assert!(is_in_our_place(&ours));
        assert_eq!(content(&ours), Found::Program(17));
        // As the kernel sends it.
        assert_eq!(TcMessage::parse(&body(&ours)).unwrap(), ours);

        for elsewhere in
            [filter(PRIORITY, 0, bpf(17)), filter(PRIORITY, 1, bpf(17)), filter(1, HANDLE, bpf(17))]
        {
            assert!(!is_in_our_place(&elsewhere), "{elsewhere:?}");
        }
        let other = filter(PRIORITY, HANDLE, vec![TcAttribute::Kind("u32".to_owned())]);
        assert_eq!(content(&other), Found::Other("u32".to_owned()));
        let classic = filter(PRIORITY, HANDLE, vec![TcAttribute::Kind("bpf".to_owned())]);
        assert_eq!(content(&classic), Found::Other("bpf (of the classic kind)".to_owned()));
    }
}
