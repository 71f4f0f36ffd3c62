//! Another binding of a filter: what it does and what it gives up, for the question before it, and doing it.

use anyhow::{Result, bail};
use firewall_common::{
    filter::FilterId,
    policy::{Mode, Profile},
};

use crate::{
    binding::{self, Bindings},
    instance::Instance,
    status::{FilterStatus, Port},
};

/// How a filter can be bound from the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It kills what its profile forbids.
    Enforce,
    /// It only tells.
    Monitor,
    /// There is none.
    Unbound,
}

impl To {
    /// What comes behind the present binding: enforce, monitor, unbound, and again.
    pub fn next_of(filter: &FilterStatus) -> Self {
        match (&filter.filter, filter.mode.as_str()) {
            (None, _) => Self::Enforce,
            (Some(_), "enforce") => Self::Monitor,
            (Some(_), "monitor") => Self::Unbound,
            (Some(_), _) => Self::Monitor,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
            Self::Unbound => "unbound",
        }
    }
}

/// A change of one protocol's binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How commands begin.
    fwx: String,
    /// The protocol.
    pub protocol: String,
    /// The filter that is bound, or is going to be.
    filter: FilterId,
    /// How it is bound now.
    from: Option<Mode>,
    profile: Profile,
    to: To,
    findings: u64,
    kills: u64,
}

impl Change {
    /// The change of `now` to `to`. Where no filter is bound, `last` was, if one was since the screen began. Commands for
    /// the instance begin with `fwx`.
    ///
    /// # Errors
    ///
    /// There is nothing to change, or nobody knows which filter to bind.
    pub fn new(
        fwx: &str,
        now: &FilterStatus,
        to: To,
        last: Option<(FilterId, Profile)>,
    ) -> Result<Self> {
        let bound = now.filter.as_deref().and_then(FilterId::from_name);
        let from = bound.map(|_| mode(&now.mode));
        let is_so = match (from, to) {
            (None, To::Unbound) => true,
            (Some(mode), to) => mode.name() == to.name(),
            (None, _) => false,
        };
        if is_so {
            bail!("{}: the filter is {} already", now.protocol, to.name());
        }
        let usual = || Some((usual(now)?, Profile::Standard));
        let known = Self::bound(now).or(last).or_else(usual);
        let Some((filter, profile)) = known else {
            bail!(
                "{}: which filter? `{fwx} filter bind {} FILTER` says it",
                now.protocol,
                now.protocol
            );
        };
        Ok(Self {
            fwx: fwx.to_owned(),
            protocol: now.protocol.clone(),
            filter,
            from,
            profile,
            to,
            findings: now.findings,
            kills: now.kills,
        })
    }

    /// The command that does the same.
    pub fn command(&self) -> String {
        let Self { fwx, protocol, filter, profile, to, .. } = self;
        match (self.from, to) {
            (_, To::Unbound) => format!("{fwx} filter unbind {protocol}"),
            (Some(_), to) => format!("{fwx} filter mode {protocol} {}", to.name()),
            (None, to) => format!(
                "{fwx} filter bind {protocol} {} --mode {} --profile {}",
                filter.name(),
                to.name(),
                profile.name()
            ),
        }
    }

    /// What is asked: what changes, what that does, what it gives up, and the command that does the same.
    pub fn question(&self) -> [String; 4] {
        let Self { protocol, filter, profile, to, findings, kills, .. } = self;
        let filter = filter.name();
        let from = self.from.map_or("unbound", Mode::name);
        let changes = format!(
            "{protocol}: the filter {filter}, profile {}, goes from {from} to {}?",
            profile.name(),
            to.name()
        );
        let does = match to {
            To::Enforce => {
                "From the next packet on it kills connections that do what the profile forbids, live ones too."
            }
            To::Monitor => {
                "From the next packet on it reads and tells what it finds, and kills no connection."
            }
            To::Unbound => {
                "From the next packet on the protocol passes unread. Live connections go on."
            }
        };
        let gives_up = match to {
            To::Enforce => format!(
                "Gives up: devices that depart from the grammar. Findings so far: {findings}, kills: {kills}."
            ),
            To::Monitor => format!(
                "Gives up: what the profile forbids reaches the other end. Findings so far: {findings}, kills: {kills}."
            ),
            To::Unbound => format!(
                "Gives up: findings and kills ({findings} and {kills} so far), and what connections announce is not \
                 let in any more."
            ),
        };
        [changes, does.to_owned(), gives_up, format!("The same as: {}", self.command())]
    }

    /// What is bound now, to be bound again later.
    pub fn bound(now: &FilterStatus) -> Option<(FilterId, Profile)> {
        Some((FilterId::from_name(now.filter.as_deref()?)?, profile(&now.profile)))
    }

    /// Does it. Returns what is bound now. May wait for others that change the instance.
    ///
    /// # Errors
    ///
    /// Those of [`Bindings`].
    pub fn apply(&self, instance: &Instance) -> Result<String> {
        let bindings = Bindings::of(instance)?;
        let now = match (self.from, self.to) {
            (_, To::Unbound) => bindings.unbind(&self.protocol)?,
            (Some(_), to) => bindings.set_mode(&self.protocol, to.mode(), None)?,
            (None, to) => bindings.bind(&self.protocol, self.filter, to.mode(), self.profile)?,
        };
        Ok(format!("{}: {}", self.protocol, binding::told(&now)))
    }
}

impl To {
    const fn mode(self) -> Mode {
        match self {
            Self::Enforce => Mode::Enforce,
            Self::Monitor => Mode::Monitor,
            Self::Unbound => Mode::Off,
        }
    }
}

fn mode(name: &str) -> Mode {
    Mode::ALL.into_iter().find(|mode| mode.name() == name).unwrap_or_default()
}

fn profile(name: &str) -> Profile {
    Profile::ALL.into_iter().find(|profile| profile.name() == name).unwrap_or_default()
}

/// The filter for a protocol that has none: the one of its name, or the one whose usual port it has.
fn usual(now: &FilterStatus) -> Option<FilterId> {
    let has =
        |port: &u16| now.ports.iter().any(|known| matches!(known, Port::One(one) if one == port));
    FilterId::from_name(&now.protocol).or_else(|| {
        let mut all = FilterId::ALL.into_iter();
        all.find(|filter| now.transport == "tcp" && filter.info().usual_ports.iter().any(has))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(filter: Option<&str>, mode: &str) -> FilterStatus {
        FilterStatus {
            protocol: "cameras".to_owned(),
            transport: "tcp".to_owned(),
            ports: vec![Port::One(554)],
            filter: filter.map(str::to_owned),
            mode: mode.to_owned(),
            profile: "strict".to_owned(),
            segments: 90,
            findings: 3,
            kills: 2,
            held: 0,
        }
    }

    #[test]
    fn a_change_is_a_command() {
        let enforced = bound(Some("rtsp"), "enforce");
        let unbound = bound(None, "off");
        let command =
            |now: &FilterStatus, to, last| Change::new("fwx", now, to, last).unwrap().command();
        assert_eq!(command(&enforced, To::Monitor, None), "fwx filter mode cameras monitor");
        assert_eq!(command(&enforced, To::Unbound, None), "fwx filter unbind cameras");
        assert_eq!(
            command(&unbound, To::Monitor, None),
            "fwx filter bind cameras rtsp --mode monitor --profile standard",
            "by its port"
        );
        assert_eq!(
            command(&unbound, To::Enforce, Some((FilterId::Smtp, Profile::Strict))),
            "fwx filter bind cameras smtp --mode enforce --profile strict",
            "as it was bound before"
        );
    }

    #[test]
    fn the_question_says_what_it_does_and_gives_up() {
        let now = bound(Some("rtsp"), "enforce");
        let change = Change::new("fwx --instance gw", &now, To::Monitor, None).unwrap();
        let [changes, does, gives_up, command] = change.question();
        assert_eq!(
            changes,
            "cameras: the filter rtsp, profile strict, goes from enforce to monitor?"
        );
        assert!(does.contains("kills no connection"), "{does}");
        assert!(gives_up.contains("Findings so far: 3, kills: 2"), "{gives_up}");
        assert_eq!(command, "The same as: fwx --instance gw filter mode cameras monitor");
    }

    #[test]
    fn what_is_so_already_or_is_not_known_is_refused() {
        let refused =
            |now: &FilterStatus, to| Change::new("fwx", now, to, None).unwrap_err().to_string();
        assert_eq!(
            refused(&bound(Some("rtsp"), "monitor"), To::Monitor),
            "cameras: the filter is monitor already"
        );
        assert_eq!(
            refused(&bound(None, "off"), To::Unbound),
            "cameras: the filter is unbound already"
        );
        let other = FilterStatus { ports: vec![Port::One(9_000)], ..bound(None, "off") };
        assert!(refused(&other, To::Enforce).contains("fwx filter bind cameras FILTER"));
    }

    #[test]
    fn one_key_goes_round() {
        for (filter, mode, next) in [
            (Some("rtsp"), "enforce", To::Monitor),
            (Some("rtsp"), "monitor", To::Unbound),
            (Some("rtsp"), "off", To::Monitor),
            (None, "off", To::Enforce),
        ] {
            assert_eq!(To::next_of(&bound(filter, mode)), next, "{filter:?} {mode}");
        }
    }
}
