//! What receives, and where: what `[export.NAME]` says by its kind.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    export::{Collector, Endpoint, Facility, Target},
    policy::{
        document::{self, Section},
        duration::timeout,
        error::{ProblemKind, Problems},
        number::Number,
    },
};

use super::{path, refuse};

/// Where Prometheus finds the controller unless the policy says otherwise.
pub(in crate::policy) const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9469);
/// Seconds between two metrics of an OTLP export unless the policy says otherwise.
pub(in crate::policy) const INTERVAL_S: u64 = 15;
/// The observation domain of IPFIX.
pub(in crate::policy) const DOMAIN: Number = Number {
    key: "domain",
    range: 0..=u32::MAX,
    help: "the number by which the collector tells this firewall from others",
};
/// The observation domain unless the policy says otherwise: that of the firewall as a whole (RFC 7011, section 3.1,
/// leaves 0 for messages that are about none).
pub(in crate::policy) const DOMAIN_DEFAULT: u32 = 1;
const KEYS: [&str; 8] = ["kind", "listen", "file", "to", "facility", "interval", "domain", "where"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prometheus,
    Json,
    Syslog,
    Otlp,
    Ipfix,
}

/// Every kind by its name, and the keys that it has besides `kind`.
const KINDS: [(&str, Kind, &[&str]); 5] = [
    ("prometheus", Kind::Prometheus, &["listen"]),
    ("json", Kind::Json, &["file", "where"]),
    ("syslog", Kind::Syslog, &["to", "facility", "where"]),
    ("otlp", Kind::Otlp, &["to", "interval", "where"]),
    ("ipfix", Kind::Ipfix, &["to", "domain"]),
];

/// Every kind, and the keys that it has besides `kind`.
pub(in crate::policy) fn kinds() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    KINDS.iter().map(|(name, _, keys)| (*name, *keys))
}

/// What a section says; `None`, with what is wrong added to `problems`, if that is nothing.
pub(super) fn target(section: &Section<'_, '_>, problems: &mut Problems) -> Option<Target> {
    section.deny_unknown_keys(&KEYS, problems);
    let choices = KINDS.map(|(name, kind, _)| (name, kind));
    let value = section.required("kind", problems)?;
    let kind = document::choice("kind", &choices, value, problems)?;
    let (name, _, keys) = KINDS.into_iter().find(|(_, known, _)| *known == kind)?;
    for key in KEYS.into_iter().filter(|key| *key != "kind" && !keys.contains(key)) {
        if let Some(value) = section.value(key) {
            problems.add(value.span(), ProblemKind::NotOfKind { kind: name, key }, None);
        }
    }
    match kind {
        Kind::Prometheus => Some(Target::Prometheus { listen: listen(section, problems)? }),
        Kind::Json => {
            let value = section.required("file", problems)?;
            Some(Target::Json { file: path("file", value, problems)? })
        }
        Kind::Syslog => {
            let facility = facility(section, problems);
            Some(Target::Syslog { to: endpoint(section, problems)?, facility })
        }
        Kind::Otlp => {
            let interval = section.value("interval");
            let interval = interval.and_then(|value| timeout("interval", value, problems));
            let interval_s = interval.unwrap_or(INTERVAL_S);
            Some(Target::Otlp { to: collector(section, problems)?, interval_s })
        }
        Kind::Ipfix => {
            let domain = DOMAIN.read(section, problems).unwrap_or(DOMAIN_DEFAULT);
            let to = endpoint(section, problems)?;
            if let (Endpoint::Unix(_), Some(value)) = (&to, section.value("to")) {
                let reason = "flow records go by UDP or TCP";
                refuse("to", &to.to_string(), reason, value, problems);
            }
            Some(Target::Ipfix { to, domain })
        }
    }
}

fn listen(section: &Section<'_, '_>, problems: &mut Problems) -> Option<SocketAddr> {
    let Some(value) = section.value("listen") else { return Some(LISTEN) };
    let text = document::string("listen", value, problems)?;
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    if address.is_none() {
        let reason = "write ADDRESS:PORT, such as 127.0.0.1:9469 or [::1]:9469";
        refuse("listen", text, reason, value, problems);
    }
    address
}

fn endpoint(section: &Section<'_, '_>, problems: &mut Problems) -> Option<Endpoint> {
    let value = section.required("to", problems)?;
    let text = document::string("to", value, problems)?;
    let endpoint = text.parse();
    endpoint.map_err(|error| refuse("to", text, &format!("{error}"), value, problems)).ok()
}

fn facility(section: &Section<'_, '_>, problems: &mut Problems) -> Facility {
    let choices = Facility::ALL.map(|(facility, name)| (name, facility));
    section
        .value("facility")
        .and_then(|value| document::choice("facility", &choices, value, problems))
        .unwrap_or(Facility::Local0)
}

/// The address of a collector by HTTP.
fn collector(section: &Section<'_, '_>, problems: &mut Problems) -> Option<String> {
    let value = section.required("to", problems)?;
    let text = document::string("to", value, problems)?;
    if text.parse::<Collector>().is_err() {
        let reason = if text.starts_with("https:") {
            "fwx speaks no TLS: send to a collector near by, which does"
        } else {
            "write http://HOST:PORT"
        };
        refuse("to", text, reason, value, problems);
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}
