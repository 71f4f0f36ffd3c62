//! Rules that can never match, because rules before them match all that they would.

use super::{
    Lints, WarningKind,
    index::{self, Index, Rules},
    region::{DIMENSIONS, Part, Region, networks, regions},
    set::Point,
};
use crate::policy::{PolicyRule, error::quote, model::action_name};

/// Most bits and words that are changed to index the rules: more than policies of 10,000 rules need, unless their
/// rules list very many networks each.
const INDEX_EFFORT_MAX: usize = 100_000_000;
/// Most rules whose regions are taken out of one rule's, to see whether anything is left.
const TAKEN_OUT_MAX: usize = 256;
/// Most ranges that are looked at for that, of all rules together.
const RANGES_MAX: usize = 10_000_000;
/// Most rules that a message names.
const NAMED_MAX: usize = 4;

/// Warns of each rule that can never match, and says which they are.
pub(super) fn rules_that_never_match(lints: &mut Lints<'_, '_>) -> Vec<bool> {
    let regions = regions(lints.policy);
    let mut dead = vec![false; regions.len()];
    let Some(mut search) = Search::new(&regions) else {
        let at = lints.places.rule(0);
        let help = "let them list fewer networks: one network may have many prefixes";
        lints.warn(at, WarningKind::TooMuchToCompare, help);
        return dead;
    };
    for (rule, dead) in dead.iter_mut().enumerate() {
        if regions[rule].is_empty() {
            *dead = true;
            warn_of_nothing(lints, rule, &regions[rule]);
        } else if let Some(by) = search.covering(rule) {
            *dead = true;
            warn(lints, rule, &by);
        }
    }
    dead
}

/// A rule that matches nothing by itself: from IPv4 to IPv6, or the other way, or by interfaces that its sources do not
/// come in by. If one of its ends is nowhere at all, that is told of its networks.
fn warn_of_nothing(lints: &mut Lints<'_, '_>, rule: usize, region: &Region) {
    let PolicyRule { name, from, to, .. } = &lints.policy.rules()[rule];
    let rule_name = quote(name);
    let at = lints.places.rule(rule);
    if region.rows == 0 {
        let help = "let `interface` name one that networks of `from` have, or leave it out";
        lints.warn(at, WarningKind::NoInterface { rule: rule_name }, help);
        return;
    }
    let family = |wanted| networks(lints.policy, wanted).first().map(|(family, _)| family);
    if let (Some(from), Some(to)) = (family(from), family(to)) {
        let kind = WarningKind::NoFamily { rule: rule_name, from, to };
        let help = "give `from` and `to` prefixes of one family, or leave the rule out";
        lints.warn(at, kind, help);
    }
}

fn warn(lints: &mut Lints<'_, '_>, rule: usize, by: &[usize]) {
    let rules = lints.policy.rules();
    let name = |rule: usize| quote(&rules[rule].name);
    let own = rules[rule].action;
    let [single] = by else {
        let kind = WarningKind::CoveredTogether { rule: name(rule), by: together(by, name) };
        let first = (lints.places.rule(by[0]), "the first of them");
        let same = by.iter().all(|by| rules[*by].action == own);
        let help = if same {
            "they decide the same: leave it out"
        } else {
            "not all of them decide the same: put it before those that decide otherwise, or leave it out"
        };
        lints.warn_with(lints.places.rule(rule), kind, first, help);
        return;
    };
    let theirs = rules[*single].action;
    let by = format!("rule {}", name(*single));
    let (kind, help) = if theirs == own {
        (WarningKind::Redundant { rule: name(rule), by }, "leave it out")
    } else {
        let (own, theirs) = (action_name(own), action_name(theirs));
        let help = "put it before that rule, or leave it out";
        (WarningKind::Contradicted { rule: name(rule), by, own, theirs }, help)
    };
    let elsewhere = (lints.places.rule(*single), "this rule matches all of it");
    lints.warn_with(lints.places.rule(rule), kind, elsewhere, help);
}

fn together(by: &[usize], name: impl Fn(usize) -> String) -> String {
    let mut names: Vec<_> = by.iter().take(NAMED_MAX).map(|rule| name(*rule)).collect();
    let last = match by.len().checked_sub(NAMED_MAX) {
        Some(more @ 1..) => format!("{more} more"),
        _ => names.pop().unwrap_or_default(),
    };
    format!("rules {} and {last}", names.join(", "))
}

/// A look for what covers a rule.
struct Search<'a> {
    regions: &'a [Region],
    indices: [Index; DIMENSIONS],
    /// Ranges that may still be looked at.
    ranges_left: usize,
}

impl<'a> Search<'a> {
    /// `None`: it would take too long.
    fn new(regions: &'a [Region]) -> Option<Self> {
        let sets: [Vec<_>; DIMENSIONS] = std::array::from_fn(|dimension| {
            let of = |(rule, region): (usize, &Region)| {
                let mut sets: Vec<_> =
                    region.hulls.iter().map(|hull| (rule, hull[dimension].clone())).collect();
                // What has nothing to do with addresses is the same for both families.
                sets.dedup();
                sets
            };
            regions.iter().enumerate().flat_map(of).collect()
        });
        let count = regions.len();
        let effort: usize = sets.iter().map(|sets| index::effort(count, sets)).sum();
        (effort <= INDEX_EFFORT_MAX).then(|| Self {
            regions,
            indices: sets.map(|sets| Index::new(count, &sets)),
            ranges_left: RANGES_MAX,
        })
    }

    /// The rules before `rule`, which matches something, that match all that it would: one, if one does. `None`: there
    /// are none, or that cannot be shown with little effort.
    fn covering(&mut self, rule: usize) -> Option<Vec<usize>> {
        let region = &self.regions[rule];
        // Whatever covers the rule matches its first packet, too.
        let candidates = self.matching(&first_packet(region.parts.first()?)?, rule);
        let single = candidates.iter().find(|candidate| self.regions[**candidate].covers(region));
        match single {
            Some(single) => Some(vec![*single]),
            None if candidates.is_empty() => None,
            None => self.covering_together(rule),
        }
    }

    /// Takes out of the rule's region what rules before it match, as long as anything is left.
    fn covering_together(&mut self, rule: usize) -> Option<Vec<usize>> {
        let mut left = self.regions[rule].parts.clone();
        let mut by = Vec::new();
        while let Some(part) = left.pop() {
            let packet = first_packet(&part)?;
            let first = *self.matching(&packet, rule).first()?;
            let taken = self.regions[first].part_of(&packet)?;
            let ranges = part.iter().chain(taken).map(|set| set.ranges().len()).sum();
            self.ranges_left = self.ranges_left.checked_sub(ranges)?;
            by.push(first);
            if by.len() > TAKEN_OUT_MAX {
                return None;
            }
            take_out(part, taken, |rest| left.push(rest));
        }
        by.sort_unstable();
        by.dedup();
        Some(by)
    }

    /// The rules before `end` that match a packet, in their order.
    fn matching(&self, packet: &[Point; DIMENSIONS], end: usize) -> Vec<usize> {
        let mut matching = Vec::new();
        let vectors: Option<Vec<&Rules>> =
            self.indices.iter().zip(packet).map(|(index, point)| index.rules(*point)).collect();
        let Some(vectors) = vectors else { return matching };
        for word in 0..end.div_ceil(64) {
            let mut common = vectors.iter().fold(u64::MAX, |common, rules| common & rules[word]);
            while common != 0 {
                matching.push(word * 64 + common.trailing_zeros() as usize);
                common &= common - 1;
            }
        }
        matching.truncate(matching.partition_point(|rule| *rule < end));
        // The indices know hulls.
        matching.retain(|rule| {
            let region = &self.regions[*rule];
            region.rows == 1 || region.part_of(packet).is_some()
        });
        matching
    }
}

fn first_packet(part: &Part) -> Option<[Point; DIMENSIONS]> {
    let mut packet = [(0, 0); DIMENSIONS];
    for (point, set) in packet.iter_mut().zip(part) {
        *point = set.first()?;
    }
    Some(packet)
}

/// Tells what is in `part` and not in `taken`: for each dimension what lies beside that there and within it in the
/// dimensions before.
fn take_out(mut part: Part, taken: &Part, mut left: impl FnMut(Part)) {
    for dimension in 0..DIMENSIONS {
        let beside = part[dimension].without(&taken[dimension]);
        if !beside.is_empty() {
            let mut rest = part.clone();
            rest[dimension] = beside.into();
            left(rest);
        }
        part[dimension] = part[dimension].common(&taken[dimension]).into();
    }
}
