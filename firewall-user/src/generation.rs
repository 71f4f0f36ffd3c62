//! Putting a policy in force as a whole.
//!
//! A packet reads once which slot is in force, and finds everything that the policy says about it by that number.
//! So the next policy is laid out in the other slot, and one write puts it in force. Packets that are on their way
//! then still read the old one: it is let go of when they are done.

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, ArrayOfMaps, IterableMap, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use firewall_common::{
    classifier::Line,
    layout::{FILTERS_MAX, FilterCounters, SourceLimits},
    policy::{Binding, InForce, PROTOCOLS_MAX, SLOTS},
};

use crate::{
    batch, policy::Compiled, renumber::Numbering, rule_counters::AllCounters, tables::Tables,
};

/// The kernel's flag for maps that may differ in size and take each other's place (`include/uapi/linux/bpf.h`).
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// What a policy is put in force over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Empty tables.
    Nothing,
    /// Another policy.
    Policy,
    /// The same policy, whose bindings may have been changed by hand and stay as they are.
    PolicyKeepingBindings,
}

/// An image in the kernel.
pub(crate) type Image = Array<MapData, Line>;

impl Tables {
    /// Puts a policy in force: each packet is judged by it or by the one before, and none by parts of both. The
    /// memory of the one before is given back.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory, say. The policy before stays in force.
    pub fn write_policy(&self, policy: &Compiled, over: Over) -> Result<()> {
        let mut images: ArrayOfMaps<MapData, Image> = self.open("IMAGES")?;
        let mut in_force: Array<_, InForce> = self.open("POLICY")?;
        let now = in_force.get(&0, 0)?;
        let slot = (now.slot + 1) % SLOTS as u32;
        let image = image(&policy.image)?;
        if images.get(&slot, 0).is_ok_and(|there| there.len() > 1)
            && let Ok(current) = images.get(&now.slot, 0)
        {
            // A change was cut off right after it took effect: packets may still read what lies in this slot.
            settle(&mut images, now.slot, &current)?;
        }
        images.set(slot, &image, 0)?;
        self.write_bindings(policy, now.slot, slot, over)?;
        self.write_commands(policy, slot)?;
        self.set_timeouts(policy.timeouts)?;
        // A shadow is compared with another policy from nothing on, see below; with the same one it goes on.
        let goes_on = over == Over::PolicyKeepingBindings && now.shadow != 0;
        let shadow = if goes_on { now.shadow } else { 0 };
        in_force.set(0, InForce { slot, shadow, ..now }, 0)?;
        if over != Over::Nothing {
            settle(&mut images, slot, &image)?;
            // Nobody reads the old one any more: the least there can be takes its place.
            images.set(now.slot, &self::image(&[Line::default()])?, 0)?;
            if !goes_on {
                self.compare_anew()?;
            }
        }
        Ok(())
    }

    fn write_bindings(&self, policy: &Compiled, from: u32, to: u32, over: Over) -> Result<()> {
        let data = self.data("BINDINGS")?;
        let mut bindings = vec![Binding::default(); PROTOCOLS_MAX];
        for (number, binding) in &policy.bindings {
            bindings[usize::from(*number)] = *binding;
        }
        if over != Over::Nothing {
            let mut there = vec![Binding::default(); PROTOCOLS_MAX];
            batch::for_each(&data, |index: &u32, binding: &Binding| {
                let number = index.checked_sub(from * PROTOCOLS_MAX as u32);
                if let Some(old) = number.and_then(|number| there.get_mut(number as usize)) {
                    *old = *binding;
                }
            })?;
            for (new, old) in bindings.iter_mut().zip(there) {
                let same = Binding { generation: old.generation, ..*new };
                *new = match over {
                    Over::PolicyKeepingBindings => old,
                    _ if same == old => old,
                    _ => Binding { generation: old.generation.wrapping_add(1), ..*new },
                };
            }
        }
        batch::write(&data, to * PROTOCOLS_MAX as u32, &bindings)
    }

    fn write_commands(&self, policy: &Compiled, slot: u32) -> Result<()> {
        let mut commands = [0; FILTERS_MAX];
        for (filter, allowed) in &policy.commands {
            commands[usize::from(*filter)] = *allowed;
        }
        batch::write(&self.data("FILTER_COMMANDS")?, slot * FILTERS_MAX as u32, &commands)
    }

    /// Forgets what was counted under numbers that mean something else now.
    pub fn forget_counts(&self, rules: &Numbering, protocols: &Numbering) -> Result<()> {
        let mut limits: Array<_, SourceLimits> = self.open("RULE_LIMITS")?;
        let rule_counters = AllCounters::open(self)?;
        for number in &rules.reused {
            rule_counters.forget(*number);
            limits.set(u32::from(*number), SourceLimits::default(), 0)?;
        }
        let mut counters: PerCpuArray<_, FilterCounters> = self.open("FILTER_COUNTERS")?;
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        for number in &protocols.reused {
            let nothing = PerCpuValues::try_from(vec![FilterCounters::default(); cpus])?;
            counters.set(u32::from(*number), nothing, 0)?;
        }
        Ok(())
    }
}

/// Makes a table of the kernel's that holds `lines`.
pub(crate) fn image(lines: &[Line]) -> Result<Image> {
    let size = u32::try_from(lines.len()).context("the policy is too large")?;
    let image = Image::create(size, BPF_F_INNER_MAP).with_context(|| {
        format!("the kernel has no room for a policy of {} KiB", size_of_val(lines) >> 10)
    })?;
    batch::write(IterableMap::map(&image), 0, lines)?;
    Ok(image)
}

/// Waits until every packet is done that began before: a change of a map of maps does (`maybe_wait_bpf_programs` in
/// the kernel's `kernel/bpf/syscall.c`), also one that changes nothing.
pub(crate) fn settle(
    images: &mut ArrayOfMaps<MapData, Image>,
    slot: u32,
    there: &Image,
) -> Result<()> {
    Ok(images.set(slot, there, 0)?)
}
