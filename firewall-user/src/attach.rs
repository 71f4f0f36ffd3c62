//! Getting the programs onto an interface: in which mode, and why.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf,
    programs::links::LinkType,
    programs::{
        ProgramError, ProgramInfo, SchedClassifier, TcAttachType, XdpMode,
        links::{FdLink, LinkError, LinkOrder, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
};

use crate::{
    bpffs, clsact,
    instance::{Instance, InterfaceState},
    link::{Begins, Interface},
    object::{self, TC_EGRESS, TC_INGRESS, WITHOUT_ETHERNET, XDP_INGRESS, os_error},
};

/// Where incoming packets are to be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The best that works on the interface.
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic path, for any driver.
    Generic,
    /// Traffic control, for any driver.
    Tc,
}

/// Where incoming packets are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ingress {
    Native,
    Generic,
    Tc,
}

impl Ingress {
    const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Tc];

    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}

/// Attaches both programs to an interface, or takes over what this instance has there already. `before` is
/// what was noted about the interface when it was last brought up.
///
/// # Errors
///
/// Another program in the way, or a mode that the interface does not have; nothing of this interface that
/// was not there before is left attached.
pub fn attach(
    ebpf: &mut Ebpf,
    instance: &Instance,
    interface: &Interface,
    mode: Mode,
    before: Option<&InterfaceState>,
) -> Result<InterfaceState> {
    let links = instance.links();
    let ingress = Place::new(&links, interface.index, TcAttachType::Ingress);
    let egress = Place::new(&links, interface.index, TcAttachType::Egress);
    let new_egress = !egress.is_attached();
    if interface.begins == Begins::Ip {
        object::load_without_ethernet(ebpf)?;
    }
    let means = attach_tc(ebpf, interface, &egress)?;
    match attach_ingress(ebpf, interface, mode, before, &ingress) {
        Ok((ingress, why)) => Ok(InterfaceState {
            name: interface.name.clone(),
            index: interface.index,
            // Who attaches it knows which policy it is for.
            number: 0,
            ingress: ingress.name().to_owned(),
            egress: means.to_owned(),
            why,
        }),
        Err(error) => {
            if new_egress {
                let _ = egress.detach();
            }
            Err(error)
        }
    }
}

/// One direction of an interface: what is attached there is pinned.
struct Place<'a> {
    /// The pin of the link. The BPF file system takes no dots in names, which those of interfaces may have; so the
    /// index it is.
    pin: PathBuf,
    direction: TcAttachType,
    /// Where no link can be had.
    filter: clsact::Place<'a>,
}

impl<'a> Place<'a> {
    /// That of the instance with this directory of links.
    fn new(links: &'a Path, index: u32, direction: TcAttachType) -> Self {
        let name = if direction == TcAttachType::Ingress { "ingress" } else { "egress" };
        let pin = links.join(format!("{index}_{name}"));
        let filter = clsact::Place { directory: links, index, direction };
        Self { pin, direction, filter }
    }

    fn is_attached(&self) -> bool {
        self.pin.exists() || self.filter.is_attached()
    }

    fn detach(&self) -> Result<()> {
        match fs::remove_file(&self.pin) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", self.pin.display()));
            }
            _ => {}
        }
        self.filter.detach()
    }
}

/// Takes the programs off an interface.
pub fn detach(instance: &Instance, index: u32) -> Result<()> {
    detach_from(&instance.links(), index)
}

/// Takes the programs off all interfaces that there are links on in `directory`.
pub fn detach_all(directory: &Path) -> Result<()> {
    attached_in(directory)?.into_iter().try_for_each(|index| detach_from(directory, index))
}

fn detach_from(links: &Path, index: u32) -> Result<()> {
    let [ingress, egress] = [TcAttachType::Ingress, TcAttachType::Egress]
        .map(|direction| Place::new(links, index, direction));
    ingress.detach()?;
    egress.detach()?;
    egress.filter.remove_qdisc()
}

/// Indices of the interfaces that this instance has links on.
pub fn attached(instance: &Instance) -> Result<Vec<u32>> {
    attached_in(&instance.links())
}

fn attached_in(directory: &Path) -> Result<Vec<u32>> {
    let index = |name: &String| name.split('_').next()?.parse().ok();
    let mut indices: Vec<u32> = bpffs::names_in(directory)?.iter().filter_map(index).collect();
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

/// The mode that `auto` tries first on an interface, and why.
pub fn preferred(interface: &Interface) -> (&'static str, String) {
    let (ingress, why) = choices(Mode::Auto, interface).swap_remove(0);
    (ingress.name(), why)
}

/// What to try, in order, each with the reason why nothing better was taken.
fn choices(mode: Mode, interface: &Interface) -> Vec<(Ingress, String)> {
    let asked = || "asked for".to_owned();
    match (mode, &interface.kind) {
        (Mode::Native, _) => vec![(Ingress::Native, asked())],
        (Mode::Generic, _) => vec![(Ingress::Generic, asked())],
        (Mode::Tc, _) => vec![(Ingress::Tc, asked())],
        (Mode::Auto, _) if interface.begins == Begins::Ip => {
            vec![(
                Ingress::Tc,
                "its packets have no Ethernet header, and there is no XDP for it".to_owned(),
            )]
        }
        // Measured: 15 Gbit/s over two veth pairs with nothing, 6 with a native XDP program that only
        // passes, 13 behind it: native XDP turns a segment of 64 KiB into page fragments first.
        (Mode::Auto, Some(kind)) => vec![(
            Ingress::Tc,
            format!(
                "{kind} is a virtual link, whose large segments stay whole here and not in native XDP"
            ),
        )],
        (Mode::Auto, None) => vec![
            (Ingress::Native, "the driver runs XDP itself".to_owned()),
            (Ingress::Tc, "works with any driver and is faster than generic XDP".to_owned()),
        ],
    }
}

fn attach_ingress(
    ebpf: &mut Ebpf,
    interface: &Interface,
    mode: Mode,
    before: Option<&InterfaceState>,
    place: &Place<'_>,
) -> Result<(Ingress, String)> {
    let mut refused = String::new();
    let mut last_error = None;
    for (ingress, why) in choices(mode, interface) {
        let before = before.filter(|before| before.ingress != ingress.name());
        let result = match before.filter(|_| place.is_attached()) {
            Some(before) => change_mode(ebpf, interface, &before.ingress, ingress, place),
            None => attach_as(ebpf, ingress, interface, place),
        };
        match result {
            Ok(()) => return Ok((ingress, why + &refused)),
            Err(error) => {
                if mode == Mode::Auto {
                    eprintln!(
                        "fwx: {}: {} is not to be had: {error:#}",
                        interface.name,
                        ingress.name()
                    );
                }
                refused = format!("; {} was refused: {error:#}", ingress.name());
                last_error = Some(error);
            }
        }
    }
    Err(last_error.unwrap_or_else(|| anyhow!("no ingress mode to try")))
}

fn attach_as(
    ebpf: &mut Ebpf,
    ingress: Ingress,
    interface: &Interface,
    place: &Place<'_>,
) -> Result<()> {
    match ingress {
        Ingress::Native => attach_xdp(ebpf, XdpMode::Driver, interface, &place.pin),
        Ingress::Generic => attach_xdp(ebpf, XdpMode::Skb, interface, &place.pin),
        Ingress::Tc => attach_tc(ebpf, interface, place).map(drop),
    }
}

/// Goes over from one mode to another, for which there is no way without a moment between. Should the new
/// mode not be had, the old one is put back.
fn change_mode(
    ebpf: &mut Ebpf,
    interface: &Interface,
    old: &str,
    new: Ingress,
    place: &Place<'_>,
) -> Result<()> {
    eprintln!("fwx: {}: changing the ingress mode from {old} to {}", interface.name, new.name());
    place.detach()?;
    let Err(error) = attach_when_free(ebpf, new, interface, place) else {
        return Ok(());
    };
    let Some(old) = Ingress::ALL.into_iter().find(|ingress| ingress.name() == old) else {
        return Err(error);
    };
    attach_when_free(ebpf, old, interface, place).with_context(|| {
        format!(
            "{}: neither {} nor, again, {} can be attached: packets come in UNJUDGED until `fwx up` succeeds",
            interface.name,
            new.name(),
            old.name()
        )
    })?;
    Err(error.context(format!("{}: {} goes on", interface.name, old.name())))
}

/// Attaches once the kernel has let go of the link that was there: it does so some time after the last
/// reference is gone.
fn attach_when_free(
    ebpf: &mut Ebpf,
    ingress: Ingress,
    interface: &Interface,
    place: &Place<'_>,
) -> Result<()> {
    const ATTEMPTS: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..ATTEMPTS {
        match attach_as(ebpf, ingress, interface, place) {
            Err(error) if error.is::<Busy>() => thread::sleep(PAUSE),
            other => return other,
        }
    }
    attach_as(ebpf, ingress, interface, place)
}

/// Something else is attached where only one thing can be.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} has another XDP program on it, of another instance of fwx or another tool: `ip link show {0}` tells \
     its id; take it off or choose --mode tc"
)]
struct Busy(String);

fn attach_xdp(ebpf: &mut Ebpf, mode: XdpMode, interface: &Interface, pin: &Path) -> Result<()> {
    let program = object::xdp(ebpf, XDP_INGRESS)?;
    if let Some(link) = pinned_link(pin, LinkType::Xdp)? {
        let link: XdpLink = link.try_into()?;
        match program.attach_to_link(link) {
            Ok(id) => return program.take_link(id).map(drop).map_err(Into::into),
            Err(error) => drop_stale(pin, &interface.name, error)?,
        }
    }
    let link = program
        .attach_to_if_index(interface.index, mode)
        .and_then(|id| program.take_link(id))
        .map_err(|error| explain_xdp(error, mode, interface))?;
    // aya falls back to an attachment by netlink, which goes with the process that made it.
    let link: FdLink = link.try_into().map_err(|_| {
        anyhow!(
            "{}: the kernel refused a BPF link for XDP in {} mode; try another --mode",
            interface.name,
            mode_name(mode)
        )
    })?;
    pin_link(link, pin)
}

/// Attaches to traffic control, by what the kernel has for it: `tcx` or `clsact`, which is returned.
fn attach_tc(ebpf: &mut Ebpf, interface: &Interface, place: &Place<'_>) -> Result<&'static str> {
    let program = tc_program(interface, place.direction);
    let classifier = object::classifier(ebpf, program)?;
    match tcx_programs(interface, place.direction)? {
        Some(others) => {
            attach_tcx(classifier, program, interface, place, &others)?;
            Ok("tcx")
        }
        None => {
            place.filter.attach(classifier, &interface.name)?;
            Ok("clsact")
        }
    }
}

/// The program for an interface's traffic control.
fn tc_program(interface: &Interface, direction: TcAttachType) -> &'static str {
    let [ingress, egress] = match interface.begins {
        Begins::Ip => WITHOUT_ETHERNET,
        Begins::Ethernet | Begins::Otherwise => [TC_INGRESS, TC_EGRESS],
    };
    if direction == TcAttachType::Ingress { ingress } else { egress }
}

fn attach_tcx(
    classifier: &mut SchedClassifier,
    program: &str,
    interface: &Interface,
    Place { pin, direction, .. }: &Place<'_>,
    others: &[ProgramInfo],
) -> Result<()> {
    if let Some(link) = pinned_link(pin, LinkType::Tcx)? {
        let link: SchedClassifierLink = link.try_into()?;
        match classifier.attach_to_link(link) {
            Ok(id) => return classifier.take_link(id).map(drop).map_err(Into::into),
            Err(error) => drop_stale(pin, &interface.name, error)?,
        }
    }
    refuse_second_instance(program, interface, others)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = classifier
        .attach_with_options(&interface.name, *direction, options)
        .and_then(|id| classifier.take_link(id))
        .with_context(|| format!("cannot attach {program} to {}", interface.name))?;
    let link: FdLink = link.try_into()?;
    pin_link(link, pin)
}

/// The programs on an interface's TCX hook. `None`: the kernel has no TCX.
fn tcx_programs(
    interface: &Interface,
    direction: TcAttachType,
) -> Result<Option<Vec<ProgramInfo>>> {
    match SchedClassifier::query_tcx(&interface.name, direction) {
        Ok((_, programs)) => Ok(Some(programs)),
        Err(error) => match os_error(&error) {
            Some(libc::ENOENT) => Ok(Some(Vec::new())),
            // The kernel has not heard of this kind of attachment.
            Some(libc::EINVAL) => Ok(None),
            _ => Err(error)
                .with_context(|| format!("cannot ask what is attached to {}", interface.name)),
        },
    }
}

/// By what means programs of traffic control are attached to an interface: `tcx` or `clsact`.
///
/// # Errors
///
/// When the kernel does not say.
pub fn tc_means(interface: &Interface) -> Result<&'static str> {
    let programs = tcx_programs(interface, TcAttachType::Egress)?;
    Ok(if programs.is_some() { "tcx" } else { "clsact" })
}

/// Several programs can share a TCX hook; two firewalls would judge every packet twice.
fn refuse_second_instance(
    program: &str,
    interface: &Interface,
    others: &[ProgramInfo],
) -> Result<()> {
    for found in others {
        if found.name_as_str() == Some(program) {
            bail!(
                "{} has fwx on it already, from another instance (program {}): take that down first \
                 with `fwx --instance NAME down`",
                interface.name,
                found.id()
            );
        }
    }
    Ok(())
}

fn explain_xdp(error: ProgramError, mode: XdpMode, interface: &Interface) -> anyhow::Error {
    let name = &interface.name;
    match os_error(&error) {
        Some(libc::EBUSY | libc::EEXIST) => Busy(name.clone()).into(),
        Some(libc::EOPNOTSUPP) => anyhow!(
            "the driver of {name} has no XDP in {} mode; choose --mode tc or auto",
            mode_name(mode)
        ),
        _ => anyhow!(error)
            .context(format!("cannot attach XDP in {} mode to {name}", mode_name(mode))),
    }
}

const fn mode_name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Skb => "generic",
        _ => "native",
    }
}

/// The link pinned at `path`, if there is one of the type that is wanted.
fn pinned_link(path: &Path, wanted: LinkType) -> Result<Option<FdLink>> {
    let link = match PinnedLink::from_pin(path) {
        Ok(link) => FdLink::from(link),
        Err(LinkError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open {}", path.display()));
        }
    };
    if link.info()?.link_type()? == wanted {
        return Ok(Some(link));
    }
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(None)
}

/// A link whose interface went away cannot be used again; one that fails otherwise is an error.
fn drop_stale(pin: &Path, interface: &str, error: ProgramError) -> Result<()> {
    if os_error(&error) != Some(libc::ENOLINK) {
        return Err(error).with_context(|| format!("cannot renew the program on {interface}"));
    }
    eprintln!("fwx: {interface}: went away and came back; attaching anew");
    fs::remove_file(pin).with_context(|| format!("cannot remove {}", pin.display()))
}

fn pin_link(link: FdLink, path: &Path) -> Result<()> {
    link.pin(path).map(drop).with_context(|| format!("cannot pin {}", path.display()))
}
