//! The sorts of what is hardly meant.

use thiserror::Error;

/// What is legal and surely not meant. Names are quoted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant says what it is and what its fields hold"
)]
pub enum WarningKind {
    #[error("rule {rule} can never match: {by} before it matches all of it, and decides the same")]
    Redundant { rule: String, by: String },
    #[error(
        "rule {rule} can never match: {by} before it matches all of it, and decides otherwise: \
         {theirs}, not {own}"
    )]
    Contradicted { rule: String, by: String, own: &'static str, theirs: &'static str },
    #[error("rule {rule} can never match: {by} before it match all of it together")]
    CoveredTogether { rule: String, by: String },
    #[error(
        "rule {rule} can never match: all of its sources are IPv{from}, and all of its destinations \
         IPv{to}"
    )]
    NoFamily { rule: String, from: u8, to: u8 },
    #[error(
        "rule {rule} can never match: what comes in by its `interface` is not what networks of its `from` are"
    )]
    NoInterface { rule: String },
    #[error("the rules list too much for a search of those that can never match")]
    TooMuchToCompare,

    #[error("nothing refers to network {network}")]
    UnusedNetwork { network: String },
    #[error("network {network} has no prefix, so no address is in it")]
    EmptyNetwork { network: String },
    #[error("no rule names protocol {protocol}, and no filter is bound to it")]
    UnusedProtocol { protocol: String },
    #[error(
        "filter `{filter}` has nothing to read of protocol {protocol}: no rule allows it, and the \
         default denies"
    )]
    UnreadProtocol { filter: &'static str, protocol: String },
    #[error("[filter.{filter}] has no effect: no protocol has this filter")]
    UnboundFilter { filter: &'static str },
    #[error("`{key}` has no effect: the mode of filter `{filter}` is `off`")]
    FilterOff { filter: &'static str, key: &'static str },
    #[error(
        "`{key}` of [filter.{filter}] has no effect: every protocol that has this filter says its own"
    )]
    FilterOverridden { filter: &'static str, key: &'static str },

    #[error("nothing is ever refused: the default allows, and so does every rule")]
    NothingRefused,
    #[error(
        "`{key}` of rule {rule} has no effect: [limits] keeps its {sources} source addresses at \
         {together} already"
    )]
    LimitWithoutEffect { key: &'static str, rule: String, sources: u128, together: u128 },
    #[error(
        "`syn_authentication = \"auto\"` has no effect: with `syn_attack = 0` no attack is ever on"
    )]
    NoAttack,

    #[error(
        "export {export} cannot reach its receiver: {by} refuses what the gateway itself sends there"
    )]
    BarredExport { export: String, by: String },
}

impl WarningKind {
    /// A short name that does not change.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Redundant { .. } => "redundant-rule",
            Self::Contradicted { .. } => "contradicted-rule",
            Self::CoveredTogether { .. } => "unreachable-rule",
            Self::NoFamily { .. } => "no-family",
            Self::NoInterface { .. } => "no-interface",
            Self::TooMuchToCompare => "rules-not-compared",
            Self::UnusedNetwork { .. } => "unused-network",
            Self::EmptyNetwork { .. } => "empty-network",
            Self::UnusedProtocol { .. } => "unused-protocol",
            Self::UnreadProtocol { .. } => "unread-protocol",
            Self::UnboundFilter { .. } => "unbound-filter",
            Self::FilterOff { .. } => "filter-off",
            Self::FilterOverridden { .. } => "filter-overridden",
            Self::NothingRefused => "nothing-refused",
            Self::LimitWithoutEffect { .. } => "limit-without-effect",
            Self::NoAttack => "no-attack",
            Self::BarredExport { .. } => "barred-export",
        }
    }
}
