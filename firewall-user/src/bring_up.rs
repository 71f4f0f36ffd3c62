//! Bringing an instance up, anew or by adopting what is pinned, and taking it down.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::Ebpf;
use firewall_common::cookie::Secret;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    addresses,
    apply::{self, Change, watcher},
    attach::{self, Mode},
    bad_input, bpffs, devices,
    flows::FlowTable,
    instance::{Instance, InterfaceState, State},
    link::{self, Interface},
    memory, namespace,
    object::{self, BENCH_PREFIX, Purpose, WITHOUT_ETHERNET},
    policy::{Policy, PolicyText, TableSizes},
    resize::Resize,
    ring::monotonic_ns,
    shortcut::Shortcut,
    tables::Tables,
    takeover::{TakenOver, take_over},
};

/// How long a change of the flow tables' size may take, in nanoseconds.
const RESIZE_NS: u64 = 30_000_000_000;

/// What to bring up.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The policy.
    pub policy: Policy,
    /// The policy as it was written.
    pub text: PolicyText,
    /// The file it came from.
    pub policy_file: Option<PathBuf>,
    /// Whether its interfaces were named on the command line.
    pub interfaces_given: bool,
    /// Whether somebody will attach to interfaces that are not there yet.
    pub awaits: bool,
    /// Where to catch incoming packets.
    pub mode: Mode,
    /// Whether the kernel programs log each decision.
    pub log_kernel: bool,
    /// For how long TCP segments of no known connection may begin one.
    pub adopt: Option<Duration>,
}

/// An instance that is up.
#[derive(Debug)]
pub struct Up {
    /// The loaded programs. What is pinned outlives this.
    pub ebpf: Ebpf,
    /// What was written down.
    pub state: State,
    /// Whether there was something to adopt.
    pub adopted: bool,
}

/// Brings the instance up: loads, pins, writes the policy, attaches. What an earlier bring-up left pinned
/// is adopted with its flows; programs are renewed in place, without a packet between.
///
/// # Errors
///
/// After a failure to bring up anew nothing is left attached or pinned; after a failure to adopt, what was
/// there goes on.
pub async fn bring_up(instance: &Instance, wanted: &Wanted) -> Result<Up> {
    let there = link::all().await?;
    let mut interfaces = find_interfaces(wanted, &there)?;
    bpffs::ensure_mounted()?;
    let change = instance.lock_for_change()?;
    let adopted = instance.is_up();
    if let Some(other) = instance.pins_of_other_layouts()?.first() {
        bail!(
            "the instance {:?} is up by another version of fwx, whose tables this one would misread ({}): take \
             it down with `fwx --instance {0} down`, then bring it up; connections that the kernel knows are \
             taken over, and --adopt lets others go on",
            instance.name(),
            other.display()
        );
    }
    let mut wanted = wanted.clone();
    if adopted && let Some((text, policy_file)) = apply::kept_at_bring_up(instance, &change)? {
        let policy = text.policy()?;
        if policy != wanted.policy {
            eprintln!(
                "fwx: another policy is in force by `fwx apply --confirm` and stays so: see `fwx status`"
            );
        }
        wanted = Wanted { policy, text, policy_file, ..wanted };
        interfaces = find_interfaces(&wanted, &there)?;
    }
    let result = build(instance, &wanted, &interfaces, &there, adopted);
    if result.is_err() && !adopted {
        remove_pins(&instance.pins())?;
        instance.forget_change_lock();
    }
    if result.is_ok() && apply::Pending::of(instance)?.is_none() {
        apply::remember(instance, &wanted.text);
    }
    result
}

/// Takes the instance down: ends its controller, detaches and unpins everything. Returns whether there was
/// anything to take down.
pub fn take_down(instance: &Instance) -> Result<bool> {
    // Before anything is done: what is attached may be out of reach.
    namespace::check(&instance.links())?;
    let ended = end_controller(instance)?;
    let _change = instance.lock_for_change()?;
    watcher::end(instance)?;
    let others = instance.pins_of_other_layouts()?;
    let pinned = instance.pins().is_dir() || !others.is_empty();
    remove_pins(&instance.pins())?;
    for other in others {
        remove_pins(&other)?;
    }
    match fs::remove_dir_all(instance.run_directory()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("cannot remove the instance's run directory");
        }
        _ => {}
    }
    instance.forget_change_lock();
    Ok(ended || pinned)
}

/// The interfaces that are wanted and there. Others are awaited, if somebody will attach to them.
fn find_interfaces(wanted: &Wanted, there: &[Interface]) -> Result<Vec<Interface>> {
    if wanted.policy.interfaces().is_empty() {
        bad_input!(
            "no interface to attach to: name it in the policy ([gateway] interfaces = [\"lan0\"]) or with \
             --interface"
        );
    }
    let mut found = Vec::new();
    for name in wanted.policy.interfaces() {
        let Some(interface) = there.iter().find(|interface| interface.name == *name) else {
            if wanted.awaits {
                continue;
            }
            let hint = if wanted.interfaces_given {
                ""
            } else {
                "; where interfaces come later use `fwx run`, which attaches to them then: after `fwx up` nobody \
                 would, and their packets would pass unjudged"
            };
            bad_input!(
                "there is no interface {name:?} here; there are: {}{hint}",
                link::names(there)
            );
        };
        interface.check(wanted.mode)?;
        if !found.iter().any(|known: &Interface| known.index == interface.index) {
            found.push(interface.clone());
        }
    }
    Ok(found)
}

fn build(
    instance: &Instance,
    wanted: &Wanted,
    interfaces: &[Interface],
    there: &[Interface],
    adopted: bool,
) -> Result<Up> {
    for directory in [instance.maps(), instance.programs(), instance.links()] {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let before = instance.state()?.filter(|_| adopted);
    let sizes = wanted.policy.tables();
    let mut resize = if adopted { Resize::begin(&instance.maps(), sizes)? } else { None };
    let purpose = Purpose::Live { maps: &instance.maps(), log: wanted.log_kernel };
    let mut ebpf = object::load(purpose, sizes)?;
    let tables = Tables::pinned(&instance.maps());
    if let Some(resize) = &resize {
        eprintln!("fwx: the flow tables get another size");
        // Ends by itself, should this process not come to it.
        tables.relax_until(monotonic_ns() + RESIZE_NS)?;
        resize.fill()?;
    }
    say_memory(&tables)?;
    let policy_file = wanted.policy_file.clone();
    let change = Change::new(&wanted.policy, policy_file, before.as_ref(), &tables, adopted)?
        .text(&wanted.text);
    change
        .put_in_force(instance, before.as_ref(), &tables)
        .context("cannot put the policy in force")?;
    tables.set_secret(random_secret()?)?;
    if let Some(adopt) = wanted.adopt {
        let until = monotonic_ns().saturating_add(u64::try_from(adopt.as_nanos())?);
        tables.adopt_until(until)?;
    }
    pin_programs(&mut ebpf, instance)?;
    // Before the programs see a packet, and again for what begins until all of them do.
    let first = if adopted { None } else { Some(take_over(&tables, change.compiled())?) };

    let State { interfaces: old, shadow, .. } = before.unwrap_or_default();
    let addresses = devices::addresses()?;
    let mut states = Vec::new();
    let mut failure = None;
    if let Some(resize) = &mut resize {
        resize.programs_change();
    }
    for interface in interfaces {
        let known = old.iter().find(|known| known.index == interface.index);
        let attached = attach::attach(&mut ebpf, instance, interface, wanted.mode, known);
        match attached {
            Ok(state) => {
                // Only now: what came in before was not judged there.
                let number = change.interface_number(&interface.name);
                let address = addresses.get(&interface.index).copied();
                tables.note_interface(interface.index, address, number)?;
                states.push(InterfaceState { number, ..state });
            }
            // All that were attached before have to use the same tables: on with the others.
            Err(error) if resize.is_some() => {
                failure.get_or_insert((interface, error));
            }
            Err(error) => {
                undo(instance, &tables, &states, &old, interface)?;
                return Err(error);
            }
        }
    }
    if let Some(resize) = resize {
        let left_out = resize.finish()?;
        tables.relax_until(0)?;
        if left_out > 0 {
            eprintln!("fwx: {left_out} flows found no room in the new flow tables and are cut");
        }
    }
    if let Some((interface, error)) = failure {
        undo(instance, &tables, &states, &old, interface)?;
        return Err(error);
    }
    if let Some(first) = first {
        let second = take_over(&tables, change.compiled())?;
        tell_taken_over(&first, &second, wanted.adopt.is_some());
    }
    for index in attach::attached(instance)? {
        if !states.iter().any(|state| state.index == index) {
            if there.iter().any(|interface| interface.index == index) {
                eprintln!("fwx: interface {index} is not in the policy any more: detaching");
            }
            tables.forget_interface(index)?;
            attach::detach(instance, index)?;
        }
    }
    addresses::put_into_force(&tables, &states).context("cannot note this machine's addresses")?;
    set_up_shortcut(&tables, wanted.policy.shortcut(), &states)?;
    let state = change.done(State {
        interfaces: states,
        interfaces_wanted: wanted.policy.interfaces().to_vec(),
        interfaces_given: wanted.interfaces_given,
        shadow,
        ..State::default()
    });
    instance.write_state(&state)?;
    Ok(Up { ebpf, state, adopted })
}

/// Puts the shortcut into force, as far as it can be had, and says how far that is.
fn set_up_shortcut(tables: &Tables, wanted: bool, interfaces: &[InterfaceState]) -> Result<()> {
    let shortcut = Shortcut::look(wanted)?;
    shortcut.put_into_force(tables, interfaces).context("cannot set up the shortcut")?;
    for interface in interfaces.iter().filter(|_| wanted) {
        eprintln!("fwx: {}: {}", interface.name, shortcut.at(interface).text());
    }
    Ok(())
}

/// What SYN challenges are made with.
fn random_secret() -> Result<Secret> {
    let mut secret = [0; 2];
    getrandom::fill(bytemuck::bytes_of_mut(&mut secret))
        .map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(Secret(secret))
}

fn tell_taken_over(first: &TakenOver, second: &TakenOver, adopts: bool) {
    let flows = first.flows + second.flows;
    let translated = first.translated + second.translated;
    eprintln!(
        "fwx: took over {flows} connections that were there before{}",
        if translated > 0 { format!(", {translated} of them behind NAT") } else { String::new() }
    );
    for note in &first.notes {
        eprintln!("fwx: {note}");
    }
    if !first.notes.is_empty() && !adopts {
        eprintln!(
            "fwx: TCP connections that are not known are cut; `fwx up --adopt SECONDS` lets those go on that \
             talk within that time and that the policy allows"
        );
    }
    if second.left_out > 0 {
        eprintln!(
            "fwx: {} connections found no room in the flow tables and will be cut: raise [tables] in the policy",
            second.left_out
        );
    }
}

/// Says how much memory the flow tables take. Those that were adopted have the size that they were made with.
fn say_memory(tables: &Tables) -> Result<()> {
    let there = TableSizes {
        completed: tables.size(FlowTable::CompletedV4)?,
        half_open: tables.size(FlowTable::HalfOpenV4)?,
    };
    eprintln!(
        "fwx: flow tables take {} MiB: {} completed and {} half-open flows of each address family",
        memory::flow_tables(there) >> 20,
        there.completed,
        there.half_open
    );
    Ok(())
}

/// Takes back the interfaces that this attempt added.
fn undo(
    instance: &Instance,
    tables: &Tables,
    attached: &[InterfaceState],
    old: &[InterfaceState],
    failed: &Interface,
) -> Result<()> {
    let is_old = |index: u32| old.iter().any(|known| known.index == index);
    let added = attached.iter().map(|state| state.index).chain([failed.index]);
    for index in added.filter(|index| !is_old(*index)) {
        tables.forget_interface(index)?;
        attach::detach(instance, index)?;
    }
    Ok(())
}

/// Pins the filters' programs: the arrays that hold them do not keep them by themselves once the last
/// process that knows the array is gone.
fn pin_programs(ebpf: &mut Ebpf, instance: &Instance) -> Result<()> {
    let is_ours = |name: &str| !name.starts_with(BENCH_PREFIX) && !WITHOUT_ETHERNET.contains(&name);
    for (name, program) in ebpf.programs_mut().filter(|(name, _)| is_ours(name)) {
        let path = instance.programs().join(name);
        let new = instance.programs().join(format!("{name}_new"));
        let _ = fs::remove_file(&new);
        program.pin(&new).with_context(|| format!("cannot pin {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot pin {}", path.display()))?;
    }
    Ok(())
}

fn remove_pins(pins: &Path) -> Result<()> {
    // Links first: they are what acts on packets. Filters are not gone with their pins.
    attach::detach_all(&pins.join("links"))?;
    for directory in ["links", "programs", "maps", ""] {
        let directory = pins.join(directory);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", directory.display()));
            }
            _ => {}
        }
    }
    // The directories above go with their last instance.
    for parent in pins.ancestors().skip(1).take(2) {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Ends the controller and waits for it. Returns whether there was one.
fn end_controller(instance: &Instance) -> Result<bool> {
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    let Some(pid) = instance.controller() else {
        return Ok(false);
    };
    let Some(pid) = pid else {
        bail!("a controller runs and has not yet said its process id; try again");
    };
    if kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok() {
        for _ in 0..ATTEMPTS {
            if instance.controller().is_none() {
                eprintln!("fwx: ended the controller (process {pid})");
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
    }
    bail!("the controller (process {pid}) does not end; end it and try again")
}
