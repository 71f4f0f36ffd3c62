//! The shadow in the kernel's tables.

use anyhow::Result;
use aya::{
    maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use bytemuck::Pod;
use firewall_common::{
    classifier::Line,
    policy::InForce,
    shadow::{Difference, Pair, SHADOW_SLOT, Sightings, Totals},
};
use time::OffsetDateTime;

use crate::{
    batch,
    generation::{Image, image, settle},
    tables::{Tables, ignore_missing},
};

/// Makes a table of the kernel's that holds `lines`.
pub(super) fn laid_out(lines: &[Line]) -> Result<Image> {
    image(lines)
}

impl Tables {
    /// What is in force.
    pub fn in_force(&self) -> Result<InForce> {
        let table: Array<_, InForce> = self.open("POLICY")?;
        Ok(table.get(&0, 0)?)
    }

    /// Compares the policy of this image with the one in force, from now on.
    pub(super) fn begin_shadow(&self, shadow: &Image) -> Result<()> {
        self.end_comparison()?;
        let mut images: ArrayOfMaps<MapData, Image> = self.open("IMAGES")?;
        images.set(SHADOW_SLOT, shadow, 0)?;
        self.compare_anew()
    }

    /// Lets go of the policy on trial, if there is one, and of what was counted.
    pub fn end_shadow(&self) -> Result<()> {
        if !self.has_shadow()? {
            return Ok(());
        }
        self.end_comparison()?;
        let mut images: ArrayOfMaps<MapData, Image> = self.open("IMAGES")?;
        images.set(SHADOW_SLOT, &image(&[Line::default()])?, 0)?;
        self.forget_differences()
    }

    /// Counts from nothing what the policy in force and the one on trial say, if there is one. No packet may be
    /// comparing: see [`InForce::shadow`].
    pub fn compare_anew(&self) -> Result<()> {
        if !self.has_shadow()? {
            return Ok(());
        }
        self.forget_differences()?;
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        self.set_comparison(SHADOW_SLOT, u64::try_from(now)?)
    }

    /// Whether a policy on trial lies there, compared or not: what was cut off may have left one.
    fn has_shadow(&self) -> Result<bool> {
        let images: ArrayOfMaps<MapData, Image> = self.open("IMAGES")?;
        Ok(images.get(&SHADOW_SLOT, 0).is_ok_and(|there| there.len() > 1))
    }

    /// No packet compares when this returns.
    fn end_comparison(&self) -> Result<()> {
        self.set_comparison(0, 0)?;
        let mut images: ArrayOfMaps<MapData, Image> = self.open("IMAGES")?;
        let slot = self.in_force()?.slot;
        let current = images.get(&slot, 0)?;
        settle(&mut images, slot, &current)
    }

    fn set_comparison(&self, shadow: u32, shadow_since: u64) -> Result<()> {
        let mut table: Array<_, InForce> = self.open("POLICY")?;
        let now = table.get(&0, 0)?;
        Ok(table.set(0, InForce { shadow, shadow_since, ..now }, 0)?)
    }

    fn forget_differences(&self) -> Result<()> {
        self.remove_all::<Pair, u64>("SHADOW_PAIRS")?;
        self.remove_all::<Difference, Sightings>("SHADOW_FLOWS")?;
        let mut totals: PerCpuArray<_, Totals> = self.open("SHADOW_TOTALS")?;
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        Ok(totals.set(0, PerCpuValues::try_from(vec![Totals::default(); cpus])?, 0)?)
    }

    fn remove_all<K: Pod + aya::Pod, V: Pod + aya::Pod>(&self, name: &str) -> Result<()> {
        let mut keys = Vec::new();
        batch::for_each(&self.data(name)?, |key: &K, _: &V| keys.push(*key))?;
        let mut table: HashMap<_, K, V> = self.open(name)?;
        keys.iter().try_for_each(|key| ignore_missing(table.remove(key)))
    }
}
