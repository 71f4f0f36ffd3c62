//! Every metric that there is: its name, its kind, its labels and what it means.

use super::{Kind, Metric, Sample};

/// A metric without values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its whole name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels, in their order.
    pub labels: &'static [&'static str],
    /// What it counts or measures, a sentence.
    pub help: &'static str,
}

impl Definition {
    /// The metric with its only value.
    pub fn is(&self, value: f64) -> Metric {
        self.with([([], value)])
    }

    /// The metric with one value for each set of labels, whose values stand in the order of their names.
    pub fn with<const N: usize>(
        &self,
        samples: impl IntoIterator<Item = ([String; N], f64)>,
    ) -> Metric {
        debug_assert_eq!(N, self.labels.len(), "{} has other labels", self.name);
        let samples = samples.into_iter().map(|(values, value)| Sample {
            labels: self.labels.iter().copied().zip(values).collect(),
            value,
        });
        let Self { name, help, kind, .. } = *self;
        Metric { name, help, kind, samples: samples.collect() }
    }
}

macro_rules! definitions {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Definition = Definition {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every metric.
        pub const ALL: &[Definition] = &[$($constant,)+];
    };
}

definitions! {
    PACKETS = Counter "fwx_packets_total" ["hook"]
        "Packets that the programs at the interfaces saw.";
    BYTES = Counter "fwx_bytes_total" ["hook"]
        "Bytes of the frames of these packets.";
    DROPPED = Counter "fwx_dropped_packets_total" ["reason"]
        "Packets that were dropped.";
    OUTCOMES = Counter "fwx_outcomes_total" ["reason"]
        "Flows that ended, findings of filters, and what else has a reason and drops no packet.";

    FILTER_BOUND = Gauge "fwx_filter_bound" ["protocol", "filter", "mode", "profile"]
        "1: how a filter is bound to a protocol; filter none: none is.";
    FILTER_SEGMENTS = Counter "fwx_filter_segments_total" ["protocol", "filter"]
        "Segments that the filter of a protocol read.";
    FILTER_FINDINGS = Counter "fwx_filter_findings_total" ["protocol", "filter"]
        "Findings of the filter, those that killed included.";
    FILTER_KILLS = Counter "fwx_filter_kills_total" ["protocol", "filter"]
        "Connections that the filter killed.";
    FILTER_HELD = Counter "fwx_filter_held_segments_total" ["protocol", "filter"]
        "Segments that were held back until what is missing before them came.";
    FILTER_UNREAD = Counter "fwx_filter_unread_segments_total" []
        "Segments that passed a filter in monitor mode which could not read them.";

    RULE_FLOWS = Counter "fwx_rule_flows_total" ["rule"]
        "Flows that a rule let in.";
    RULE_PACKETS = Counter "fwx_rule_packets_total" ["rule"]
        "Packets of the flows that a rule let in.";
    RULE_BYTES = Counter "fwx_rule_bytes_total" ["rule"]
        "Bytes of these packets with their IP headers.";
    RULE_REFUSED_PACKETS = Counter "fwx_rule_refused_packets_total" ["rule"]
        "Packets that a rule refused.";
    RULE_REFUSED_BYTES = Counter "fwx_rule_refused_bytes_total" ["rule"]
        "Bytes of these packets with their IP headers.";
    RULE_LIVE_FLOWS = Gauge "fwx_rule_live_flows" ["rule"]
        "Flows that a rule let in and that have not ended.";

    FLOWS = Gauge "fwx_flows" ["state", "family", "transport"]
        "Flows in the tables.";
    FLOWS_OPENED = Counter "fwx_flows_opened_total" []
        "Flows that began.";
    FLOWS_COMPLETED = Counter "fwx_flows_completed_total" []
        "Flows that got their answer, or that were taken over.";
    FLOWS_REMOVED = Counter "fwx_flows_removed_total" []
        "Flows that were taken out of the table of those with an answer.";
    FLOWS_ADOPTED = Counter "fwx_flows_adopted_total" []
        "Connections that were taken over in their midst.";
    FLOWS_TRANSLATED = Counter "fwx_flows_translated_total" []
        "Flows whose addresses the kernel translates.";
    TABLE_ENTRIES = Gauge "fwx_table_entries" ["table"]
        "Entries of a table; a flow whose addresses are translated has two.";
    TABLE_SIZE = Gauge "fwx_table_size" ["table"]
        "For how many entries a table has room.";
    SWEEP_TIME = Gauge "fwx_sweep_timestamp_seconds" []
        "When flows, table entries and rules were last counted, seconds since 1970.";
    TIMEOUTS_SHORTENED = Gauge "fwx_timeouts_shortened" []
        "1: timeouts are shorter than the policy's, because the tables fill.";

    SYN_ATTACK = Gauge "fwx_syn_attack" []
        "1: a SYN attack is on.";
    SYNS_CHALLENGED = Counter "fwx_syns_challenged_total" []
        "SYNs that were answered by a challenge.";
    SOURCES_AUTHENTICATED = Counter "fwx_sources_authenticated_total" []
        "Sources that answered a challenge.";
    SOURCES_UNKNOWN = Counter "fwx_sources_unknown_packets_total" []
        "Packets whose source passed because the kernel could not tell by which way it is reached.";
    PINHOLES_OPENED = Counter "fwx_pinholes_opened_total" []
        "Pinholes that were opened for announced connections.";
    PINHOLES_REFUSED = Counter "fwx_pinholes_refused_total" []
        "Pinholes that found no room.";
    PINHOLE_FLOWS = Counter "fwx_pinhole_flows_total" []
        "Flows that came by a pinhole.";
    REJECTS = Counter "fwx_rejects_total" ["result"]
        "Packets of rules that reject, and not TCP, by what came of the answer.";
    SHORTCUT = Counter "fwx_shortcut_packets_total" []
        "Packets that took the shortcut past the kernel's stack.";
    LONG_WAY = Counter "fwx_shortcut_missed_packets_total" ["why"]
        "Packets of flows that take the shortcut which went through the kernel's stack.";

    EVENTS_LOST = Counter "fwx_events_lost_total" ["ring", "reason"]
        "Events that found no room in their ring.";
    EVENTS_SUPPRESSED = Counter "fwx_events_suppressed_total" ["ring", "reason"]
        "Events that were held back by their rate limit; the next one that is told has their number.";
    EVENTS_UNHEARD = Counter "fwx_events_unheard_total" ["ring", "reason"]
        "Events that nobody listened to, because no controller ran.";
    EVENTS_PUBLISHED = Counter "fwx_events_published_total" []
        "Events that the controller told since it was started, its own included.";
    SUBSCRIBERS = Gauge "fwx_event_subscribers" []
        "Programs that have the controller's socket open.";
    SUBSCRIBERS_LOST = Counter "fwx_event_subscribers_lost_total" []
        "Events that programs at the controller's socket were too slow for.";
    EXPORT_UP = Gauge "fwx_export_up" ["export", "kind"]
        "1: an export can send; 0: its last try failed.";
    EXPORT_SENT = Counter "fwx_export_sent_total" ["export", "kind"]
        "Events that an export sent, or requests that it answered.";
    EXPORT_FAILED = Counter "fwx_export_failed_total" ["export", "kind"]
        "Events that an export could not send.";
    EXPORT_LOST = Counter "fwx_export_lost_total" ["export", "kind"]
        "Events that an export was too slow for.";

    INTERFACE_UP = Gauge "fwx_interface_up" ["interface", "ingress", "egress"]
        "1: programs are on an interface, attached in these ways; 0: it is awaited.";
    POLICY = Gauge "fwx_policy_info" ["digest"]
        "1: the policy in force, by a digest that every change alters.";
    POLICY_TIME = Gauge "fwx_policy_timestamp_seconds" []
        "When the policy came in force, seconds since 1970.";
    POLICY_RULES = Gauge "fwx_policy_rules" []
        "Rules of the policy in force.";
    POLICY_PENDING = Gauge "fwx_policy_pending" []
        "1: the policy in force waits for its confirmation.";
    POLICY_ON_TRIAL = Gauge "fwx_policy_on_trial" []
        "1: another policy is compared with the one in force.";
    BUILD = Gauge "fwx_build_info" ["version"]
        "1: the version of fwx.";

    PROCESS_START = Gauge "process_start_time_seconds" []
        "When the controller was started, seconds since 1970.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "Time that the controller spent on a processor, in user space and in the kernel.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" []
        "Memory of the controller that is resident.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Memory of the controller that is mapped.";
    PROCESS_FDS = Gauge "process_open_fds" []
        "Files that the controller has open.";
    PROCESS_FDS_MAX = Gauge "process_max_fds" []
        "How many it may have.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_those_that_prometheus_expects() {
        let mut names = HashSet::new();
        for Definition { name, kind, labels, help } in ALL {
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let is_ours = name.starts_with("fwx_") || name.starts_with("process_");
            let is_word =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(
                is_ours && is_word(name) && labels.iter().all(|label| is_word(label)),
                "{name}"
            );
            assert!(help.ends_with('.'), "{name}: {help}");
        }
    }
}
