//! A firewall that stands on the gateway of a lab of its own.

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::Ebpf;
use firewall_common::reason::Reason;
use lab::{Fwx, Host, Lab, Mode, Process, flood, flows, policy, wait};

use super::{firewall::Firewall, rules};

/// The port that floods go to.
pub(super) const FLOODED_PORT: u16 = 8_000;
/// Room for all connections of a measurement: those that ended stay for some seconds.
pub(super) const COMPLETED: u32 = 1 << 17;
/// Room for those without an answer.
pub(super) const HALF_OPEN: u32 = 1 << 14;

/// Machines of a lab and the firewall between them.
pub(super) struct Site<'lab> {
    pub(super) firewall: Firewall,
    pub(super) lab: &'lab Lab,
    name: String,
    /// Or why it does not stand.
    standing: Result<Standing<'lab>, String>,
}

/// What a firewall stands by; it goes with it.
enum Standing<'lab> {
    Nothing,
    Rules,
    Program(#[expect(dead_code, reason = "attached for as long as it is kept")] Ebpf),
    Process(#[expect(dead_code, reason = "runs for as long as it is kept")] Process),
    Fwx(Box<Fwx<'lab>>),
}

impl<'lab> Site<'lab> {
    /// Sets `firewall` up on the gateway of `lab`. That it cannot be had is no error until a figure is wanted.
    pub(super) fn set_up(firewall: Firewall, lab: &'lab Lab) -> Self {
        let standing = set_up(firewall, lab).map_err(|error| format!("{error:#}"));
        let mut name = firewall.name();
        if let Ok(Standing::Fwx(fwx)) = &standing
            && let Ok(status) = fwx.status()
            && let Some(first) = status.interfaces.first()
            && !name.contains(&first.ingress)
        {
            name = format!("{name} ({})", first.ingress);
        }
        Self { firewall, lab, name, standing }
    }

    /// What it is called in tables: for fwx also what the mode comes to.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// An error that says why, when the firewall does not stand.
    pub(super) fn stands(&self) -> Result<()> {
        self.standing().map(drop)
    }

    /// How many packets the firewall has dropped, by its own count, as something that belongs to no connection, or
    /// whatever else it was told to drop. In the driver, where it is by native XDP.
    pub(super) fn dropped(&self) -> Result<u64> {
        let gateway = self.lab.gateway();
        match (self.firewall, self.standing()?) {
            (Firewall::Iptables, _) => of_iptables(gateway),
            (Firewall::NftablesStateless | Firewall::Ends, _) => of_nft(gateway, "netdev"),
            (_, Standing::Rules) => of_nft(gateway, "inet"),
            (_, Standing::Program(_) | Standing::Process(_)) => flood::dropped(gateway),
            (firewall, Standing::Fwx(fwx)) => {
                let count = flows::tables(fwx)?.reason_count(Reason::TcpNotSyn)?;
                if firewall == super::firewall::FWX_NATIVE {
                    let in_driver = flood::dropped(gateway)?;
                    ensure!(in_driver >= count, "{in_driver} of {count} dropped in the driver");
                }
                Ok(count)
            }
            (_, Standing::Nothing) => Ok(0),
        }
    }

    /// fwx, where it stands.
    pub(super) fn fwx(&self) -> Result<&Fwx<'lab>> {
        match self.standing()? {
            Standing::Fwx(fwx) => Ok(fwx),
            _ => Err(anyhow!("no fwx stands at {}", self.name)),
        }
    }

    fn standing(&self) -> Result<&Standing<'lab>> {
        self.standing.as_ref().map_err(|why| anyhow!("{why}"))
    }
}

/// Those of `firewalls` among the `sites`, in the same order.
pub(super) fn those<'a, 'lab>(
    sites: &'a [Site<'lab>],
    firewalls: &[Firewall],
) -> Vec<&'a Site<'lab>> {
    let of = |&firewall| sites.iter().find(|site| site.firewall == firewall);
    firewalls.iter().filter_map(of).collect()
}

/// Where `firewall` is among the `sites`.
pub(super) fn place(sites: &[&Site<'_>], firewall: Firewall) -> Result<usize> {
    let place = sites.iter().position(|site| site.firewall == firewall);
    place.with_context(|| format!("{} is not compared here", firewall.name()))
}

/// Has the gateway's near interface take frames that come from an XDP program, whatever is attached there; `off`:
/// as it is by default.
pub(super) fn receive_offload(sites: &[&Site<'_>], value: &str) -> Result<()> {
    for site in sites {
        site.lab.gateway().ethtool_features("lan0", &["gro", value])?;
    }
    Ok(())
}

fn set_up<'lab>(firewall: Firewall, lab: &'lab Lab) -> Result<Standing<'lab>> {
    let gateway = lab.gateway();
    // So that the way back to a flood's sources is known, as a gateway's default route has it.
    let next = lab.client.first_interface().ipv4;
    gateway.ip(&format!("route add {} via {next}\n", flood::SOURCE_NETWORK))?;
    match firewall {
        Firewall::Absent | Firewall::Again => Ok(Standing::Nothing),
        Firewall::Ends => nft(gateway, &rules::silence("lan0")),
        Firewall::BareDrop => flood::drop_by_xdp(gateway).map(Standing::Program),
        Firewall::BareLookup => {
            flood::drop_unknown_by_xdp(gateway, COMPLETED).map(Standing::Program)
        }
        Firewall::Nftables => nft(gateway, rules::NFTABLES),
        Firewall::NftablesEarly => nft(gateway, rules::NFTABLES_EARLY),
        Firewall::NftablesStateless => nft(gateway, rules::NFTABLES_STATELESS),
        Firewall::Iptables => iptables(gateway),
        Firewall::XdpFilter => xdp_filter(gateway),
        Firewall::Fwx(mode) => fwx(lab, mode, ""),
        Firewall::FwxShortcut => {
            // Otherwise TCP does not take it: conntrack, which has no part in this, might miss segments.
            gateway.sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1")?;
            fwx(lab, Mode::Native, "shortcut = true\n")
        }
    }
}

/// `gateway` is what stands in that section of the policy besides.
fn fwx<'lab>(lab: &'lab Lab, mode: Mode, gateway: &str) -> Result<Standing<'lab>> {
    let policy = policy::with_tables(&policy::open(&["lan0", "wan0"]), COMPLETED, HALF_OPEN);
    let policy = policy.replace("[gateway]\n", &format!("[gateway]\n{gateway}"));
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw"))?;
    fwx.run(&policy, mode)?;
    Ok(Standing::Fwx(fwx.into()))
}

fn nft<'lab>(gateway: &Host, rules: &str) -> Result<Standing<'lab>> {
    gateway.nft(rules)?;
    strict(gateway)
}

fn iptables<'lab>(gateway: &Host) -> Result<Standing<'lab>> {
    for arguments in rules::IPTABLES {
        gateway.output(gateway.command("iptables").args(arguments.split(' ')))?;
    }
    strict(gateway)
}

fn strict<'lab>(gateway: &Host) -> Result<Standing<'lab>> {
    let [setting, value] = rules::STRICT;
    gateway.sysctl(setting, value)?;
    Ok(Standing::Rules)
}

fn xdp_filter<'lab>(gateway: &Host) -> Result<Standing<'lab>> {
    let mut command = gateway.command("unshare");
    command.args(["--mount", "sh", "-c", &rules::xdp_filter(FLOODED_PORT)]);
    let mut process = gateway.start("xdp-filter", command)?;
    wait::until("xdp-filter stands", || {
        // One that has ended will not stand any more: no use waiting.
        if let Err(ended) = process.check_alive() {
            return Ok(Err(ended));
        }
        ensure!(process.stdout()?.lines().any(|line| line == rules::READY), "it does not yet");
        Ok(Ok(()))
    })??;
    Ok(Standing::Process(process))
}

/// What the counter of [`rules`] has seen in a table of `family`.
pub(super) fn of_nft(host: &Host, family: &str) -> Result<u64> {
    let mut nft = host.command("nft");
    nft.args(["list", "counter", family, rules::TABLE, rules::COUNTER]);
    let text = host.output(&mut nft)?;
    rules::packets_of_nft(&text).with_context(|| format!("nft printed: {text}"))
}

fn of_iptables(gateway: &Host) -> Result<u64> {
    let mut iptables = gateway.command("iptables");
    iptables.args(["--list-rules", "FORWARD", "--verbose"]);
    let text = gateway.output(&mut iptables)?;
    rules::packets_of_iptables(&text).with_context(|| format!("iptables printed: {text}"))
}
