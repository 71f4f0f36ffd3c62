//! Interfaces that come later, or go and come back, while a controller runs: USB network cards, tunnels.
//!
//! The kernel tells of every change of a link (rtnetlink(7), the group RTNLGRP_LINK). Its word is only taken as a reason
//! to look: what is there is asked for, so that nothing depends on whether a message was lost.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rtnetlink::MulticastGroup;
use tokio::task::JoinHandle;

use crate::{
    addresses,
    attach::{self, Mode},
    devices,
    instance::{Instance, InterfaceState, State},
    link::{self, Interface},
    shortcut::Shortcut,
    tables::Tables,
};

/// Hears of changes of this network namespace's links.
pub(crate) struct LinkChanges {
    messages: Pin<Box<dyn Stream<Item = ()> + Send>>,
    worker: JoinHandle<()>,
}

impl LinkChanges {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self> {
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
                .context("cannot listen for changes of interfaces")?;
        let worker = tokio::spawn(connection);
        Ok(Self { messages: Box::pin(messages.map(drop)), worker })
    }

    /// Waits for the next changes, all of them that are there. Never ends if there will be none.
    pub(crate) async fn next(&mut self) {
        if self.messages.next().await.is_none() {
            std::future::pending().await
        }
        while self.messages.next().now_or_never().flatten().is_some() {}
    }
}

impl Drop for LinkChanges {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// Attaches to what comes, and forgets what went.
#[derive(Debug)]
pub(crate) struct Comings {
    mode: Mode,
    /// Names of interfaces that were attached and went.
    went: HashSet<String>,
    /// Indices of those that cannot be attached whatever happens, because of what they carry.
    unfit: HashSet<u32>,
    /// Why others could not be, by name.
    failures: HashMap<String, String>,
    /// The last look found something to do and could not: somebody else changed the instance.
    is_put_off: bool,
}

/// What came of a look.
#[derive(Debug)]
pub(crate) struct Change {
    /// The instance as it is now, and is written down.
    pub(crate) state: State,
    /// What there is to tell.
    pub(crate) told: Vec<String>,
}

impl Comings {
    /// Attaches in this mode.
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            went: HashSet::new(),
            unfit: HashSet::new(),
            failures: HashMap::new(),
            is_put_off: false,
        }
    }

    /// Whether there is something to do that had to be put off: it is time for another look.
    pub(crate) fn is_put_off(&self) -> bool {
        self.is_put_off
    }

    /// Looks at what is there. `known` is what was last read of the instance. `None`: nothing was changed.
    ///
    /// It never waits for who else changes the instance: that may be `fwx apply`, which waits for the controller to take
    /// kills out of their ring.
    pub(crate) async fn look(
        &mut self,
        instance: &Instance,
        ebpf: &mut Ebpf,
        known: &State,
    ) -> Result<Option<Change>> {
        let there = link::all().await?;
        self.unfit.retain(|index| there.iter().any(|found| found.index == *index));
        self.failures.retain(|name, _| there.iter().any(|found| found.name == *name));
        if gone(known, &there).is_empty() && self.come(known, &there).is_empty() {
            self.is_put_off = false;
            return Ok(None);
        }
        let change = instance.try_lock_for_change()?;
        self.is_put_off = change.is_none();
        let Some(_change) = change else { return Ok(None) };
        // As it is now that nobody else changes it.
        let Some(state) = instance.state()? else { return Ok(None) };
        self.follow(instance, ebpf, state, &there).map(Some)
    }

    fn follow(
        &mut self,
        instance: &Instance,
        ebpf: &mut Ebpf,
        mut state: State,
        there: &[Interface],
    ) -> Result<Change> {
        let tables = Tables::pinned(&instance.maps());
        let mut told = Vec::new();
        for interface in gone(&state, there) {
            tables.forget_interface(interface.index)?;
            attach::detach(instance, interface.index)?;
            state.interfaces.retain(|known| known.index != interface.index);
            let name = interface.name;
            told.push(if state.awaited().any(|awaited| *awaited == name) {
                format!(
                    "interface {name} vanished, and what was attached to it; it is attached again when it is back"
                )
            } else {
                format!("interface {name} vanished, and what was attached to it")
            });
            self.went.insert(name);
        }
        for interface in self.come(&state, there) {
            match self.attach(instance, ebpf, &tables, &state, interface) {
                Ok(attached) => {
                    told.push(self.told_of(&attached));
                    state.interfaces.push(attached);
                }
                Err(error) => told.extend(self.failed(interface, &format!("{error:#}"))),
            }
        }
        Shortcut::look(state.shortcut)?.put_into_force(&tables, &state.interfaces)?;
        addresses::put_into_force(&tables, &state.interfaces)?;
        instance.write_state(&state)?;
        Ok(Change { state, told })
    }

    fn attach(
        &mut self,
        instance: &Instance,
        ebpf: &mut Ebpf,
        tables: &Tables,
        state: &State,
        interface: &Interface,
    ) -> Result<InterfaceState> {
        if let Err(error) = interface.check(self.mode) {
            self.unfit.insert(interface.index);
            return Err(error);
        }
        let attached = attach::attach(ebpf, instance, interface, self.mode, None)?;
        let number = state.interface_number(&interface.name);
        let address = devices::addresses()?.get(&interface.index).copied();
        tables.note_interface(interface.index, address, number)?;
        Ok(InterfaceState { number, ..attached })
    }

    fn told_of(&mut self, attached: &InterfaceState) -> String {
        let InterfaceState { name, ingress, egress, why, .. } = attached;
        self.failures.remove(name);
        let how = if self.went.remove(name) { "is back" } else { "has come" };
        format!("interface {name} {how}: attached, ingress {ingress}, egress {egress} ({why})")
    }

    /// What to tell of a failure, if it is another than before: it is tried again and again.
    fn failed(&mut self, interface: &Interface, error: &str) -> Option<String> {
        let name = &interface.name;
        let before = self.failures.insert(name.clone(), error.to_owned());
        (before.as_deref() != Some(error)).then(|| {
            format!("interface {name} is there and cannot be attached to, so that its packets are not judged: {error}")
        })
    }

    /// Those that are awaited and there.
    fn come<'a>(&self, state: &State, there: &'a [Interface]) -> Vec<&'a Interface> {
        let found = |name: &String| there.iter().find(|found| found.name == *name);
        state
            .awaited()
            .filter_map(found)
            .filter(|interface| !self.unfit.contains(&interface.index))
            .collect()
    }
}

/// Those that are attached and not there.
fn gone(state: &State, there: &[Interface]) -> Vec<InterfaceState> {
    let is_gone = |known: &&InterfaceState| !there.iter().any(|found| found.index == known.index);
    state.interfaces.iter().filter(is_gone).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Begins;

    fn found(name: &str, index: u32) -> Interface {
        Interface { name: name.to_owned(), index, kind: None, mtu: 1500, begins: Begins::Ethernet }
    }

    fn attached(name: &str, index: u32) -> InterfaceState {
        InterfaceState {
            name: name.to_owned(),
            index,
            number: 1,
            ingress: "tc".to_owned(),
            egress: "tcx".to_owned(),
            why: String::new(),
        }
    }

    #[test]
    fn the_same_name_with_another_index_went_and_came() {
        let mut state = State {
            interfaces: vec![attached("lan0", 2), attached("usb0", 3)],
            interfaces_wanted: ["lan0", "usb0", "vpn0"].map(str::to_owned).to_vec(),
            ..State::default()
        };
        let there = [found("lo", 1), found("lan0", 2), found("usb0", 4)];
        let comings = Comings::new(Mode::Auto);
        assert_eq!(gone(&state, &there), [attached("usb0", 3)]);
        assert!(comings.come(&state, &there).is_empty(), "not before the old one is forgotten");
        state.interfaces.pop();
        let come: Vec<_> = comings.come(&state, &there).iter().map(|it| it.index).collect();
        assert_eq!(come, [4]);
        assert!(state.awaited().eq(["usb0", "vpn0"]));
    }

    #[test]
    fn a_failure_is_told_when_it_changes() {
        let mut comings = Comings::new(Mode::Auto);
        let usb = found("usb0", 3);
        assert!(comings.failed(&usb, "busy").is_some_and(|told| told.contains("busy")));
        assert_eq!(comings.failed(&usb, "busy"), None);
        assert!(comings.failed(&usb, "no memory").is_some());
        assert!(comings.told_of(&attached("usb0", 3)).contains("has come"));
        assert!(comings.failed(&usb, "no memory").is_some());
    }
}
