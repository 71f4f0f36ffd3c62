//! Which firewalls are compared.

use lab::Mode;

/// What stands on the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firewall {
    /// Nothing: the kernel forwards.
    Absent,
    /// The same on other machines: what figures differ by where nothing does.
    Again,
    /// No gateway: what would be forwarded ends where it comes in, as it does at its receiver.
    Ends,
    /// A native XDP program that drops everything.
    BareDrop,
    /// A native XDP program that parses, looks once into a table of flows as large as that of fwx, and drops what it
    /// does not find: the least that a firewall with flows can do.
    BareLookup,
    /// nftables with conntrack, its rules where packets are forwarded.
    Nftables,
    /// nftables with conntrack; what belongs to no connection is dropped as early as conntrack has said so.
    NftablesEarly,
    /// nftables without conntrack, at the interface: every segment is dropped that is no SYN.
    NftablesStateless,
    /// iptables with conntrack.
    Iptables,
    /// xdp-filter of xdp-tools: a port is dropped.
    XdpFilter,
    /// fwx, its ingress program attached in this mode.
    Fwx(Mode),
    /// fwx in native XDP, its shortcut past the kernel's stack allowed.
    FwxShortcut,
}

/// fwx as it is when nobody asks for a mode.
pub(super) const FWX: Firewall = Firewall::Fwx(Mode::Auto);
/// fwx before the kernel makes an skb of a packet.
pub(super) const FWX_NATIVE: Firewall = Firewall::Fwx(Mode::Native);

impl Firewall {
    pub(super) const ALL: [Self; 14] = [
        Self::Absent,
        Self::Again,
        Self::Ends,
        Self::BareDrop,
        Self::BareLookup,
        Self::Nftables,
        Self::NftablesEarly,
        Self::NftablesStateless,
        Self::Iptables,
        Self::XdpFilter,
        FWX,
        FWX_NATIVE,
        Self::Fwx(Mode::Generic),
        Self::FwxShortcut,
    ];

    /// Those that are compared where every packet of a connection passes.
    pub(super) const OF_CONNECTIONS: [Self; 4] = [Self::Absent, Self::Nftables, FWX, FWX_NATIVE];

    /// The same and the control, where ratios decide.
    pub(super) const WITH_CONTROL: [Self; 5] =
        [Self::Absent, Self::Again, Self::Nftables, FWX, FWX_NATIVE];

    pub(super) fn name(self) -> String {
        match self {
            Self::Absent => "no firewall".to_owned(),
            Self::Again => "no firewall, again".to_owned(),
            Self::Ends => "sender and receiver alone".to_owned(),
            Self::BareDrop => "XDP program that only drops".to_owned(),
            Self::BareLookup => "XDP program that looks once".to_owned(),
            Self::Nftables => "nftables, conntrack".to_owned(),
            Self::NftablesEarly => "nftables, conntrack, prerouting".to_owned(),
            Self::NftablesStateless => "nftables, stateless, ingress".to_owned(),
            Self::Iptables => "iptables, conntrack".to_owned(),
            Self::XdpFilter => "xdp-filter, stateless".to_owned(),
            Self::Fwx(mode) => format!("fwx {mode}"),
            Self::FwxShortcut => "fwx native, shortcut".to_owned(),
        }
    }
}
