//! Exports whose way to the receiver the policy itself bars.

use std::net::IpAddr;

use firewall_common::{
    classifier::service,
    policy::Action,
    wire::ip_protocol::{TCP, UDP},
};

use super::{
    Lints, WarningKind,
    region::{Region, networks, regions},
    set::Point,
};
use crate::{
    export::{Collector, Endpoint, Target, Transport},
    policy::{Policy, error::quote},
};

/// Exports that nothing lets out of the gateway: what they send is dropped, and where drops are what they are to send,
/// each makes another.
pub(super) fn receivers(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let of_host = |index: usize| Some((index, Receiver::of(&policy.exports()[index].target)?));
    let receivers: Vec<_> = (0..policy.exports().len()).filter_map(of_host).collect();
    if receivers.is_empty() {
        return;
    }
    let regions = regions(policy);
    for (index, receiver) in receivers {
        let Some(by) = receiver.refused_by(policy, &regions) else { continue };
        let export = &policy.exports()[index];
        let by = match by {
            Refuser::Rule(rule) => format!("rule {}", quote(&policy.rules()[rule].name)),
            Refuser::Default => "the default".to_owned(),
        };
        let at = lints.places.value(&["export", &export.name, "to"]).unwrap_or_default();
        let kind = WarningKind::BarredExport { export: quote(&export.name), by };
        let to = receiver.host;
        let help = format!(
            "allow it by a rule of its own with `interface = [\"self\"]`, a network with {to} as `to`, and `log = false`; \
             else each event that is to be sent may make another. What leaves by an interface that the policy does not name \
             needs none"
        );
        lints.warn(at, kind, &help);
    }
}

/// What refuses a flow: a rule by its place, or the default.
enum Refuser {
    Rule(usize),
    Default,
}

/// Where an export sends.
struct Receiver {
    host: String,
    /// `None`: the host is a name.
    address: Option<IpAddr>,
    /// As the classifier numbers it.
    service: Point,
}

impl Receiver {
    /// `None`: what is sent there leaves the gateway by no interface.
    fn of(target: &Target) -> Option<Self> {
        let (transport, host, port) = match target {
            Target::Prometheus { .. } | Target::Json { .. } => return None,
            Target::Syslog { to: Endpoint::Unix(_), .. }
            | Target::Ipfix { to: Endpoint::Unix(_), .. } => return None,
            Target::Syslog { to: Endpoint::Host { transport, host, port }, .. }
            | Target::Ipfix { to: Endpoint::Host { transport, host, port }, .. } => {
                (*transport, host.clone(), *port)
            }
            Target::Otlp { to, .. } => {
                let collector: Collector = to.parse().ok()?;
                (Transport::Tcp, collector.host().to_owned(), collector.port())
            }
        };
        let address = host.parse().ok().map(|address: IpAddr| address.to_canonical());
        let is_here = match address {
            // The unspecified address is taken for the loopback address.
            Some(address) => address.is_loopback() || address.is_unspecified(),
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        let protocol = match transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        let service = (0, service(protocol, port).into());
        (!is_here).then_some(Self { host, address, service })
    }

    /// What refuses all that the gateway itself sends there. `None`: it may pass, and if only from one of the addresses
    /// that the gateway may have, or to one that a name may stand for.
    fn refused_by(&self, policy: &Policy, regions: &[Region]) -> Option<Refuser> {
        let destination: Option<Point> = self.address.map(|address| match address {
            IpAddr::V4(address) => (4, address.to_bits().into()),
            IpAddr::V6(address) => (6, address.to_bits()),
        });
        let families: &[u8] = match destination {
            Some((4, _)) => &[4],
            Some(_) => &[6],
            None => &[4, 6],
        };
        let fates = families.iter().map(|family| self.fate(policy, regions, destination, *family));
        // The first one's, if all refuse.
        fates.collect::<Option<Vec<_>>>()?.into_iter().next()
    }

    /// The same for one family.
    fn fate(
        &self,
        policy: &Policy,
        regions: &[Region],
        destination: Option<Point>,
        family: u8,
    ) -> Option<Refuser> {
        let itself: Point = (0, policy.interfaces().len() as u128);
        let anywhere = networks(policy, &[]).of_family(family);
        for (rule, region) in regions.iter().enumerate() {
            for [from, to, services, interfaces] in &region.parts {
                let is_to = match destination {
                    Some(address) => to.contains(address),
                    None => to.first().is_some_and(|(of, _)| of == family),
                };
                if !is_to || !services.contains(self.service) || !interfaces.contains(itself) {
                    continue;
                }
                // A part is of one family at both ends.
                if from.first().is_none_or(|(of, _)| of != family) {
                    continue;
                }
                if policy.rules()[rule].action == Action::Allow {
                    return None;
                }
                if from.covers(&anywhere) && (destination.is_some() || to.covers(&anywhere)) {
                    return Some(Refuser::Rule(rule));
                }
            }
        }
        (policy.default_action() != Action::Allow).then_some(Refuser::Default)
    }
}
