//! `network graph`: the host's networks as they are at this moment, as plain data.

mod gather;

pub use gather::gather;

use ipnet::IpNet;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// All that is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Graph {
    pub host: Host,
    pub networks: Vec<Network>,
    /// Those that are in one of these networks, by name.
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Host {
    pub name: String,
    /// The links of the default routes.
    pub uplinks: Vec<Uplink>,
    /// net.ipv4.ip_forward
    pub ip_forward: bool,
    /// net.ipv6.conf.all.forwarding; `None` in a kernel without IPv6.
    pub ipv6_forwarding: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Uplink {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub addresses: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    pub name: String,
    /// 64 hex digits.
    pub id: String,
    /// bridge, macvlan or ipvlan
    pub driver: String,
    /// Of macvlan and ipvlan.
    pub mode: Option<String>,
    /// What its containers are plugged into: a bridge, or the parent of their links, there or not.
    pub segment: String,
    pub segment_of: Owner,
    /// The host routes for it; else whoever is on that wire does.
    pub routed: bool,
    pub internal: bool,
    /// Its packets go beyond the host's own networks.
    pub leads_out: bool,
    /// Under the host's address.
    pub masquerade: bool,
    /// Our table says so, too: somebody may have flushed it.
    pub masquerade_live: bool,
    /// Its containers do not reach each other.
    pub isolated: bool,
    /// The host answers for those of its subnet that are on other bridges.
    pub proxy_arp: bool,
    /// Its sysctl says so, too.
    pub proxy_arp_live: bool,
    /// The VLAN of the bridge whose untagged members its ports are.
    pub vlan: Option<u16>,
    /// VLANs of which they are tagged members.
    pub trunk: Vec<u16>,
    /// What its containers get besides the default route.
    pub routes: Vec<Way>,
    pub subnets: Vec<Subnet>,
    /// The segment's link; `None` where no container has needed it yet.
    pub bridge: Option<Bridge>,
    /// The host's own link into its VLAN, which has its addresses.
    pub gate: Option<Bridge>,
}

/// Whose a segment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum Owner {
    This,
    /// This one is on another network's bridge.
    Network(String),
    /// Somebody else has made it.
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Way {
    pub to: IpNet,
    /// `None`: whoever is there is on the same wire.
    pub via: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    pub net: IpNet,
    pub gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Bridge {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub mtu: u32,
    pub up: bool,
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub name: String,
    pub id: String,
    /// docker's word: running, paused, …
    pub state: String,
    /// One in each of the drawn networks that it is in, in the order of its own links.
    pub cables: Vec<Cable>,
    pub routes: Vec<Route>,
    pub ports: Vec<Port>,
}

impl Container {
    /// As people see it.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// A veth: both its ends. Of macvlan and ipvlan: the parent, and the link on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cable {
    pub network: String,
    /// `None` where it is not there yet, or not any more.
    pub host: Option<End>,
    pub inside: Option<End>,
    /// What the link inside has; where it cannot be asked, what the container was lent.
    pub addresses: Vec<IpNet>,
    /// As the bridge has its port: it hands nothing on to other such ports.
    pub isolated: bool,
    /// Of which VLANs it is a member, where the network has some.
    pub vlans: Vec<Vlan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vlan {
    pub id: u16,
    pub tagged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct End {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
}

/// A route that somebody has given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    pub to: IpNet,
    pub via: Option<IpAddr>,
    /// The container's link.
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    pub network: String,
    pub protocol: String,
    /// Where the host listens; 0.0.0.0 and :: are all its addresses.
    pub listen: SocketAddr,
    pub to: SocketAddr,
    /// Our table has it: where somebody has flushed that, nothing is published.
    pub live: bool,
}
