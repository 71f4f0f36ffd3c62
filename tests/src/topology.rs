//! The shapes of the lab: which machines there are and how they are joined.
//!
//! One gateway, [`Lab::single`]:
//!
//! ```text
//!   client             gateway             camera
//!     eth0 ─────────── lan0 wan0 ─────────── eth0
//!      .2   10.1.0.0/24 .1   .1  10.2.0.0/24  .2
//! ```
//!
//! One gateway and a router behind it, [`Lab::routed`]; the camera's link carries less than the others, and the
//! camera does not let on:
//!
//! ```text
//!   client             gateway             router              camera
//!     eth0 ─────────── lan0 wan0 ─────────── in0 out0 ─────────── eth0
//!      .2   10.1.0.0/24 .1   .1  10.4.0.0/24 .2   .1  10.2.0.0/24  .2
//! ```
//!
//! The story's own, [`Lab::story`]; vpn0 is a VXLAN tunnel (VNI 42, UDP port 4789) over net0:
//!
//! ```text
//!   client             central             branch              camera
//!     eth0 ─────────── lan0 vpn0 ═════════ vpn0 cam0 ─────────── eth0
//!      .2   10.1.0.0/24 .1   .1 10.3.0.0/24 .2   .1  10.2.0.0/24  .2
//!                           net0 ───────── net0
//!                            .1 10.9.0.0/24 .2
//! ```
//!
//! One gateway between three networks, [`Lab::zones`]; the camera stands for a server:
//!
//! ```text
//!   client             gateway             outside
//!     eth0 ─────────── lan0 wan0 ─────────── eth0
//!      .2   10.1.0.0/24 .1   .1  10.5.0.0/24  .2
//!                       dmz0 ───────────────────────── eth0 camera
//!                        .1       10.2.0.0/24           .2
//! ```
//!
//! The same without vpn0, for tunnels that a test makes itself, [`Lab::underlay`]. And the same with a VPN whose packets
//! have no Ethernet header, [`Lab::vpn`]; vpn0 is a tun device, and the lab carries what goes into one of them to the
//! other:
//!
//! ```text
//!   client             central             branch              camera
//!     eth0 ─────────── lan0 vpn0 ═════════ vpn0 cam0 ─────────── eth0
//!      .2   10.1.0.0/24 .1   .1 10.3.0.0/24 .2   .1  10.2.0.0/24  .2
//! ```
//!
//! Each network 10.N.0.0/24 is fd00:N::/64 as well, with the same last number. The hardware address
//! of 10.N.0.M is 02:00:0a:N:00:M.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use crate::{
    cleanup::{self, Leftover},
    host::{Host, Interface},
    packet::Mac,
    tun::{self, Before, Tun},
};

/// Networks of the lab, by the second number of their IPv4 prefix.
const CLIENT_NETWORK: u8 = 1;
const CAMERA_NETWORK: u8 = 2;
const TUNNEL_NETWORK: u8 = 3;
const ROUTER_NETWORK: u8 = 4;
const OUTSIDE_NETWORK: u8 = 5;
const UNDERLAY_NETWORK: u8 = 9;

/// What an Ethernet link carries unless asked otherwise.
const DEFAULT_MTU: u32 = 1500;

/// What WireGuard leaves of it.
const VPN_MTU: u32 = 1420;

/// What VXLAN over IPv4 adds to a packet: Ethernet, IPv4, UDP and VXLAN headers.
const VXLAN_OVERHEAD: u32 = 14 + 20 + 8 + 8;

/// What can be chosen about a lab.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// MTU of all links, in bytes; the tunnel's is 50 less.
    pub mtu: u32,
    /// Whether client and camera leave TCP and UDP checksums to a network card that a veth pair does
    /// not have. That is Linux's default, and it means that packets travel with partial checksums.
    pub tx_checksum_offload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { mtu: DEFAULT_MTU, tx_checksum_offload: true }
    }
}

/// Machines in network namespaces of their own, joined by virtual links. Dropping it removes all.
#[derive(Debug)]
pub struct Lab {
    /// Where the requests come from.
    pub client: Host,
    /// Where the video comes from.
    pub camera: Host,
    /// What lies between them, in order from the client's side, and whom they are kept from.
    gateways: Vec<Host>,
    /// Last: the machines' processes must have ended before it goes.
    directory: Directory,
}

impl Lab {
    /// Client, gateway and camera.
    pub fn single() -> Result<Self> {
        Self::single_with(Options::default())
    }

    /// Client, gateway and camera, with `options`.
    pub fn single_with(options: Options) -> Result<Self> {
        let name = cleanup::new_lab_name()?;
        let directory = Directory::create(&name)?;
        let make = |role, interfaces| Host::create(&name, role, interfaces, &directory.path);
        let client = make("client", vec![interface("eth0", CLIENT_NETWORK, 2)])?;
        let gateway = make(
            "gateway",
            vec![interface("lan0", CLIENT_NETWORK, 1), interface("wan0", CAMERA_NETWORK, 1)],
        )?;
        let camera = make("camera", vec![interface("eth0", CAMERA_NETWORK, 2)])?;

        join((&client, "eth0"), (&gateway, "lan0"), options.mtu)?;
        join((&gateway, "wan0"), (&camera, "eth0"), options.mtu)?;
        forward(&gateway)?;
        prepare_end(&client, &gateway, "lan0", options)?;
        prepare_end(&camera, &gateway, "wan0", options)?;
        Ok(Self { client, camera, gateways: vec![gateway], directory })
    }

    /// Client, gateway, router and camera. The camera's link has an MTU of `far_mtu` bytes.
    pub fn routed(far_mtu: u32) -> Result<Self> {
        let options = Options::default();
        let name = cleanup::new_lab_name()?;
        let directory = Directory::create(&name)?;
        let make = |role, interfaces| Host::create(&name, role, interfaces, &directory.path);
        let client = make("client", vec![interface("eth0", CLIENT_NETWORK, 2)])?;
        let gateway = make(
            "gateway",
            vec![interface("lan0", CLIENT_NETWORK, 1), interface("wan0", ROUTER_NETWORK, 1)],
        )?;
        let router = make(
            "router",
            vec![interface("in0", ROUTER_NETWORK, 2), interface("out0", CAMERA_NETWORK, 1)],
        )?;
        let camera = make("camera", vec![interface("eth0", CAMERA_NETWORK, 2)])?;

        join((&client, "eth0"), (&gateway, "lan0"), options.mtu)?;
        join((&gateway, "wan0"), (&router, "in0"), options.mtu)?;
        join((&router, "out0"), (&camera, "eth0"), far_mtu)?;
        for host in [&gateway, &router] {
            forward(host)?;
        }
        route(&gateway, CAMERA_NETWORK, router.interface("in0"))?;
        route(&router, CLIENT_NETWORK, gateway.interface("wan0"))?;
        prepare_end(&client, &gateway, "lan0", options)?;
        prepare_end(&camera, &router, "out0", options)?;
        // The largest segment that it says it takes would otherwise fit its link.
        let next = router.interface("out0");
        let (v4, v6) = (options.mtu - 40, options.mtu - 60);
        camera.ip(&format!(
            "route replace default via {} advmss {v4}\nroute replace default via {} advmss {v6}\n",
            next.ipv4, next.ipv6
        ))?;
        Ok(Self { client, camera, gateways: vec![gateway, router], directory })
    }

    /// Client, gateway and camera, each in a network of its own, and a host outside in a third one.
    pub fn zones() -> Result<Self> {
        let options = Options::default();
        let name = cleanup::new_lab_name()?;
        let directory = Directory::create(&name)?;
        let make = |role, interfaces| Host::create(&name, role, interfaces, &directory.path);
        let client = make("client", vec![interface("eth0", CLIENT_NETWORK, 2)])?;
        let gateway = make(
            "gateway",
            vec![
                interface("lan0", CLIENT_NETWORK, 1),
                interface("dmz0", CAMERA_NETWORK, 1),
                interface("wan0", OUTSIDE_NETWORK, 1),
            ],
        )?;
        let camera = make("camera", vec![interface("eth0", CAMERA_NETWORK, 2)])?;
        let outside = make("outside", vec![interface("eth0", OUTSIDE_NETWORK, 2)])?;

        for (end, near) in [(&client, "lan0"), (&camera, "dmz0"), (&outside, "wan0")] {
            join((end, "eth0"), (&gateway, near), options.mtu)?;
            prepare_end(end, &gateway, near, options)?;
        }
        forward(&gateway)?;
        Ok(Self { client, camera, gateways: vec![gateway, outside], directory })
    }

    /// Client, central gateway, branch gateway and camera; a tunnel joins the gateways.
    pub fn story() -> Result<Self> {
        Self::story_with(Options::default())
    }

    /// Client, central gateway, branch gateway and camera, with `options`.
    pub fn story_with(options: Options) -> Result<Self> {
        let lab = Self::underlay_with(options)?;
        let (central, branch) = (lab.central(), lab.branch());
        tunnel(central, branch, options.mtu - VXLAN_OVERHEAD)?;
        tunnel(branch, central, options.mtu - VXLAN_OVERHEAD)?;
        route(central, CAMERA_NETWORK, branch.interface("vpn0"))?;
        route(branch, CLIENT_NETWORK, central.interface("vpn0"))?;
        Ok(lab)
    }

    /// Client, central gateway, branch gateway and camera, with a network between the gateways and no tunnel yet.
    pub fn underlay() -> Result<Self> {
        Self::underlay_with(Options::default())
    }

    fn underlay_with(options: Options) -> Result<Self> {
        let name = cleanup::new_lab_name()?;
        let directory = Directory::create(&name)?;
        let make = |role, interfaces| Host::create(&name, role, interfaces, &directory.path);
        let client = make("client", vec![interface("eth0", CLIENT_NETWORK, 2)])?;
        let central = make(
            "central",
            vec![
                interface("lan0", CLIENT_NETWORK, 1),
                interface("vpn0", TUNNEL_NETWORK, 1),
                interface("net0", UNDERLAY_NETWORK, 1),
            ],
        )?;
        let branch = make(
            "branch",
            vec![
                interface("cam0", CAMERA_NETWORK, 1),
                interface("vpn0", TUNNEL_NETWORK, 2),
                interface("net0", UNDERLAY_NETWORK, 2),
            ],
        )?;
        let camera = make("camera", vec![interface("eth0", CAMERA_NETWORK, 2)])?;

        join((&client, "eth0"), (&central, "lan0"), options.mtu)?;
        join((&central, "net0"), (&branch, "net0"), options.mtu)?;
        join((&branch, "cam0"), (&camera, "eth0"), options.mtu)?;
        for gateway in [&central, &branch] {
            forward(gateway)?;
        }
        prepare_end(&client, &central, "lan0", options)?;
        prepare_end(&camera, &branch, "cam0", options)?;
        Ok(Self { client, camera, gateways: vec![central, branch], directory })
    }

    /// Client, central gateway, branch gateway and camera; a VPN by tun devices joins the gateways. `offloads`: whether
    /// large segments and partial checksums go through it as they are.
    pub fn vpn(offloads: bool) -> Result<Self> {
        let options = Options::default();
        let name = cleanup::new_lab_name()?;
        let directory = Directory::create(&name)?;
        let make = |role, interfaces| Host::create(&name, role, interfaces, &directory.path);
        let client = make("client", vec![interface("eth0", CLIENT_NETWORK, 2)])?;
        let central = make(
            "central",
            vec![interface("lan0", CLIENT_NETWORK, 1), interface("vpn0", TUNNEL_NETWORK, 1)],
        )?;
        let branch = make(
            "branch",
            vec![interface("cam0", CAMERA_NETWORK, 1), interface("vpn0", TUNNEL_NETWORK, 2)],
        )?;
        let camera = make("camera", vec![interface("eth0", CAMERA_NETWORK, 2)])?;

        join((&client, "eth0"), (&central, "lan0"), options.mtu)?;
        join((&branch, "cam0"), (&camera, "eth0"), options.mtu)?;
        let before = if offloads { Before::Offloads } else { Before::Nothing };
        let end = |gateway| Tun::create(gateway, "vpn0", before);
        tun::carry(end(&central)?, end(&branch)?)?;
        for gateway in [&central, &branch] {
            gateway.ip(&format!("link set vpn0 mtu {VPN_MTU}\n"))?;
            bring_up(gateway, gateway.interface("vpn0"))?;
            forward(gateway)?;
        }
        route(&central, CAMERA_NETWORK, branch.interface("vpn0"))?;
        route(&branch, CLIENT_NETWORK, central.interface("vpn0"))?;
        prepare_end(&client, &central, "lan0", options)?;
        prepare_end(&camera, &branch, "cam0", options)?;
        Ok(Self { client, camera, gateways: vec![central, branch], directory })
    }

    /// The only gateway of [`Lab::single`], [`Lab::routed`] and [`Lab::zones`], the central one of [`Lab::story`] and
    /// [`Lab::vpn`].
    pub fn gateway(&self) -> &Host {
        &self.gateways[0]
    }

    /// The gateway on the client's side of [`Lab::story`] and [`Lab::vpn`].
    pub fn central(&self) -> &Host {
        &self.gateways[0]
    }

    /// The gateway on the camera's side.
    ///
    /// # Panics
    ///
    /// When the lab is neither [`Lab::story`] nor [`Lab::vpn`].
    pub fn branch(&self) -> &Host {
        self.gateways.get(1).expect("only the story's lab has a branch gateway")
    }

    /// The router behind the gateway.
    ///
    /// # Panics
    ///
    /// When the lab is not [`Lab::routed`].
    pub fn router(&self) -> &Host {
        self.gateways.get(1).expect("only the routed lab has a router")
    }

    /// The host outside.
    ///
    /// # Panics
    ///
    /// When the lab is not [`Lab::zones`].
    pub fn outside(&self) -> &Host {
        self.gateways.get(1).expect("only the lab of zones has a host outside")
    }

    /// The lab's name, with which the names of all that it makes begin.
    pub fn name(&self) -> &str {
        &self.directory.name
    }

    /// A name for an instance of fwx that no other lab on this machine uses. `role` is of lower-case
    /// letters.
    pub fn instance(&self, role: &str) -> String {
        format!("{}-{role}", self.name())
    }
}

/// Where the lab's logs and policies are, removed when dropped.
#[derive(Debug)]
struct Directory {
    name: String,
    path: PathBuf,
}

impl Directory {
    fn create(lab: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(lab);
        cleanup::remember(&Leftover::Directory(path.clone()), || {
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))
        })?;
        Ok(Self { name: lab.to_owned(), path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = cleanup::remove(&Leftover::Directory(self.path.clone())) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The interface that has number `host`, 1 or 2, in `network`: the other number is its peer's.
fn interface(name: &'static str, network: u8, host: u8) -> Interface {
    Interface {
        name,
        ipv4: ipv4(network, host),
        ipv6: Ipv6Addr::new(0xfd00, network.into(), 0, 0, 0, 0, 0, host.into()),
        mac: mac(network, host),
        peer_mac: mac(network, 3 - host),
    }
}

fn ipv4(network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, network, 0, host)
}

/// Locally administered, and the IPv4 address can be read from it.
fn mac(network: u8, host: u8) -> Mac {
    Mac([0x02, 0, 10, network, 0, host])
}

/// Joins two interfaces by a veth pair, made in the namespaces where its ends belong.
fn join(left: (&Host, &str), right: (&Host, &str), mtu: u32) -> Result<()> {
    let (a, b) = (left.0.interface(left.1), right.0.interface(right.1));
    left.0.ip(&format!(
        "link add {} address {} mtu {mtu} type veth \
         peer name {} address {} mtu {mtu} netns {}",
        a.name,
        a.mac,
        b.name,
        b.mac,
        right.0.namespace(),
    ))?;
    bring_up(left.0, a)?;
    bring_up(right.0, b)
}

/// Makes `from`'s end of the tunnel to `to`.
fn tunnel(from: &Host, to: &Host, mtu: u32) -> Result<()> {
    let end = from.interface("vpn0");
    from.ip(&format!(
        "link add vpn0 address {} mtu {mtu} type vxlan id 42 dstport 4789 dev net0 \
         local {} remote {}",
        end.mac,
        from.interface("net0").ipv4,
        to.interface("net0").ipv4,
    ))?;
    bring_up(from, end)
}

fn bring_up(host: &Host, Interface { name, ipv4, ipv6, .. }: &Interface) -> Result<()> {
    host.ip(&format!(
        "address add {ipv4}/24 dev {name}\n\
         address add {ipv6}/64 dev {name} nodad\n\
         link set {name} up\n"
    ))
}

fn forward(gateway: &Host) -> Result<()> {
    gateway.sysctl("ipv4/ip_forward", "1")?;
    gateway.sysctl("ipv6/conf/all/forwarding", "1")
}

/// Has `from` send what goes to `network` to `next`.
fn route(from: &Host, network: u8, next: &Interface) -> Result<()> {
    from.ip(&format!(
        "route add 10.{network}.0.0/24 via {}\nroute add fd00:{network}::/64 via {}\n",
        next.ipv4, next.ipv6
    ))
}

/// Gives client or camera its route through `interface` of `gateway`, and sets its card up.
fn prepare_end(end: &Host, gateway: &Host, interface: &str, options: Options) -> Result<()> {
    let next = gateway.interface(interface);
    end.ip(&format!("route add default via {}\nroute add default via {}\n", next.ipv4, next.ipv6))?;

    // With GRO a veth end has NAPI; without NAPI it drops frames that an XDP program at the other
    // end transmits or redirects to it.
    let offload = if options.tx_checksum_offload { "on" } else { "off" };
    end.ethtool_features("eth0", &["gro", "on", "tx", offload])
}
