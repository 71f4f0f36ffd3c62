//! The picture as text for people.

use super::{FilterStatus, Flows, InterfaceStatus, Port, Status};
use crate::{apply::confirm::PendingStatus, events::printable, export::ExportStatus};

impl Status {
    /// The picture for people.
    pub fn text(&self) -> String {
        let mut text = format!("instance {}: ", self.instance);
        text += if self.attached { "up" } else { "not up" };
        text += &match (self.controller.running, self.controller.pid) {
            (true, Some(pid)) => format!(", controller runs (process {pid})\n"),
            (true, None) => ", controller runs\n".to_owned(),
            (false, _) => ", no controller\n".to_owned(),
        };
        if !self.attached {
            return text;
        }
        text += &format!("policy: {}\n", self.policy.as_deref().unwrap_or("built in"));
        if let Some(shadow) = &self.shadow {
            text += &shadow.text();
        }
        text += &self.pending.as_ref().map_or_else(String::new, PendingStatus::text);
        for InterfaceStatus { state, shortcut } in &self.interfaces {
            text += &format!(
                "interface {}: ingress {}, egress {} ({})\n",
                state.name, state.ingress, state.egress, state.why
            );
            if let Some(shortcut) = shortcut {
                text += &format!("  {}\n", shortcut.text());
            }
        }
        for name in &self.awaited {
            let by_whom = if self.controller.running {
                "the controller attaches it"
            } else {
                "and no controller runs that would attach it"
            };
            text += &format!("interface {name}: awaited; {by_whom} when it comes\n");
        }
        let Flows { ipv4, ipv6 } = &self.flows;
        text += &format!(
            "flows: IPv4 {} and {} half-open, IPv6 {} and {} half-open\n",
            ipv4.completed, ipv4.half_open, ipv6.completed, ipv6.half_open
        );
        for (name, family) in [("IPv4", ipv4), ("IPv6", ipv6)] {
            text += &format!(
                "{name} tables: {} % of {} and {} % of {} half-open",
                family.completed_percent,
                family.completed_size,
                family.half_open_percent,
                family.half_open_size
            );
            if family.aliases > 0 {
                text +=
                    &format!(", {} second names of translated flows among them", family.aliases);
            }
            text += "\n";
        }
        if self.timeouts_shortened {
            text += "timeouts are shortened, because the tables fill\n";
        }
        if let Some(since) = &self.syn_attack_since {
            text += &format!("a SYN attack is on since {since}\n");
        }
        text += &format!("packets: {} in, {} out\n", self.packets.ingress, self.packets.egress);
        for (title, counts) in [("dropped", &self.drops), ("outcome", &self.outcomes)] {
            for (reason, count) in counts {
                text += &format!("{title}: {count:>10}  {reason}\n");
            }
        }
        for (what, count) in self.rejects.lines().into_iter().chain([
            ("events lost for want of room in their ring", self.events_lost),
            ("events that no controller was there to hear", self.events_unheard),
            ("events held back by their rate limit", self.events_suppressed),
            ("segments that passed a monitoring filter unread", self.passed_unread),
            ("packets whose way back the kernel does not tell", self.sources_unknown),
            ("SYNs that were answered by a challenge", self.syns_challenged),
            ("sources that answered a challenge", self.sources_authenticated),
            ("connections that were taken over in their midst", self.flows_adopted),
            ("connections whose addresses are translated", self.flows_translated),
            ("packets that took the shortcut", self.shortcut.packets),
            ("pinholes that were opened", self.pinholes.opened),
            ("pinholes that found no room", self.pinholes.refused),
            ("connections that came by a pinhole", self.pinholes.flows),
        ]) {
            if count > 0 {
                text += &format!("{what}: {count}\n");
            }
        }
        for export in &self.exports {
            text += &export_line(export);
        }
        if let Some(error) = &self.exports_unknown {
            text += &printable(&format!("exports: not known: {error}"));
            text += "\n";
        }
        text + &filter_table(&self.filters)
    }
}

/// How an export is doing, for people.
fn export_line(export: &ExportStatus) -> String {
    let ExportStatus { name, kind, to, lost, condition } = export;
    let mut line = format!("export {name}: {kind} {to}, {} sent", condition.sent);
    if condition.failed > 0 {
        line += &format!(", {} not taken", condition.failed);
    }
    if *lost > 0 {
        line += &format!(", {lost} too many to send");
    }
    if let Some(failure) = &condition.failure {
        line += &format!("; now: {failure}");
    }
    // A receiver may have worded the failure.
    printable(&line).into_owned() + "\n"
}

/// The bindings for people.
pub fn filter_table(filters: &[FilterStatus]) -> String {
    if filters.is_empty() {
        return "no protocols are named by the policy\n".to_owned();
    }
    let mut text = format!(
        "{:<16} {:<9} {:<16} {:<8} {:<8} {:<9} {:>9} {:>6} {:>6}\n",
        "PROTOCOL", "TRANSPORT", "PORTS", "FILTER", "MODE", "PROFILE", "FINDINGS", "KILLS", "HELD"
    );
    for filter in filters {
        let ports: Vec<_> = filter
            .ports
            .iter()
            .map(|port| match port {
                Port::One(number) => number.to_string(),
                Port::Range(range) => range.clone(),
            })
            .collect();
        text += &format!(
            "{:<16} {:<9} {:<16} {:<8} {:<8} {:<9} {:>9} {:>6} {:>6}\n",
            filter.protocol,
            filter.transport,
            ports.join(","),
            filter.filter.as_deref().unwrap_or("-"),
            filter.mode,
            filter.profile,
            filter.findings,
            filter.kills,
            filter.held
        );
    }
    text
}
