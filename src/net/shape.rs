//! How a network is built, in the words of who made it: what is between its containers, and what leads out. Pure.

use crate::error::{Error, Result};
use crate::id::{IfName, Name};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What was asked of a network besides its subnets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    pub mtu: Option<u32>,
    /// Containers reach the outside under the host's address.
    pub masquerade: bool,
    /// Nothing goes out and nothing comes in: its containers and the host alone.
    pub internal: bool,
    /// Its containers do not reach each other.
    pub isolated: bool,
    /// The host answers for addresses that are behind another link of its (ip-sysctl.rst, proxy_arp): one subnet may lie
    /// on several bridges.
    pub proxy_arp: bool,
    /// Where ports are published that were asked for without an address; none is at all of the host's.
    pub publish_at: Option<Ipv4Addr>,
    /// Routes that containers get besides that to their subnet and the default one.
    pub routes: Vec<Route>,
    pub segment: Segment,
    /// The VLAN whose untagged member each container's port is.
    pub vlan: Option<u16>,
    /// VLANs of which each container's port is a tagged member.
    pub trunk: Vec<u16>,
}

/// What its containers are plugged into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Segment {
    /// A bridge of its own.
    #[default]
    Bridge,
    /// That of another network.
    Shared(Name),
    /// A bridge that somebody else has made, and keeps.
    Foreign(IfName),
    /// A link of the host's, which every container has a MAC address of its own on.
    Macvlan { parent: IfName, mode: MacvlanMode },
    /// A link of the host's, whose MAC address all share.
    Ipvlan { parent: IfName, mode: IpvlanMode },
}

/// MACVLAN_MODE_*: whom else on the parent a container reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
}

/// IPVLAN_MODE_*: on which layer the parent hands packets on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpvlanMode {
    #[default]
    L2,
    L3,
    L3s,
}

/// A route inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub to: IpNet,
    /// None: whoever is there is on the same wire.
    pub via: Option<IpAddr>,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            mtu: None,
            masquerade: true,
            internal: false,
            isolated: false,
            proxy_arp: false,
            publish_at: None,
            routes: Vec::new(),
            segment: Segment::Bridge,
            vlan: None,
            trunk: Vec::new(),
        }
    }
}

impl Shape {
    /// docker's word for it.
    pub fn driver(&self) -> &'static str {
        match self.segment {
            Segment::Bridge | Segment::Shared(_) | Segment::Foreign(_) => "bridge",
            Segment::Macvlan { .. } => "macvlan",
            Segment::Ipvlan { .. } => "ipvlan",
        }
    }

    /// Whether the host routes for it, by our rules. Where its containers are on a wire of somebody else's, all that leads
    /// out is that one's, too.
    pub fn is_routed(&self) -> bool {
        matches!(self.segment, Segment::Bridge | Segment::Shared(_))
    }

    /// Whether ports of its bridge are members of VLANs.
    pub fn has_vlans(&self) -> bool {
        self.vlan.is_some() || !self.trunk.is_empty()
    }
}

impl Route {
    /// `NET`, or podman's `NET,GATEWAY`.
    pub fn parse(word: &str) -> Result<Route> {
        let wrong = || Error::user(format!("invalid route {word:?}")).hint("--route 192.168.1.0/24[,192.168.0.254]");
        let (to, via) = match word.split_once(',') {
            Some((to, via)) => (to, Some(via.strip_prefix("via=").unwrap_or(via))),
            None => (word, None),
        };
        let to: IpNet = to.parse().map_err(|_| wrong())?;
        let via: Option<IpAddr> = via.map(|via| via.parse().map_err(|_| wrong())).transpose()?;
        if via.is_some_and(|via| via.is_ipv4() != to.addr().is_ipv4()) || to.trunc() != to {
            return Err(wrong());
        }
        if to.prefix_len() == 0 && via.is_some() {
            return Err(Error::user("the default route is the gateway's").hint("--gateway says which that is"));
        }
        Ok(Route { to, via })
    }
}

impl MacvlanMode {
    pub fn parse(word: &str) -> Result<MacvlanMode> {
        match word {
            "bridge" => Ok(MacvlanMode::Bridge),
            "private" => Ok(MacvlanMode::Private),
            "vepa" => Ok(MacvlanMode::Vepa),
            _ => Err(Error::user(format!("invalid macvlan mode {word:?}")).hint("bridge, private or vepa")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            MacvlanMode::Bridge => "bridge",
            MacvlanMode::Private => "private",
            MacvlanMode::Vepa => "vepa",
        }
    }
}

impl IpvlanMode {
    pub fn parse(word: &str) -> Result<IpvlanMode> {
        match word {
            "l2" => Ok(IpvlanMode::L2),
            "l3" => Ok(IpvlanMode::L3),
            "l3s" => Ok(IpvlanMode::L3s),
            _ => Err(Error::user(format!("invalid ipvlan mode {word:?}")).hint("l2, l3 or l3s")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            IpvlanMode::L2 => "l2",
            IpvlanMode::L3 => "l3",
            IpvlanMode::L3s => "l3s",
        }
    }
}

/// The number of a VLAN (IEEE 802.1Q: 1 to 4094). 1 is what every port of a bridge is in at first, and what its own link is.
pub fn vlan(word: &str) -> Result<u16> {
    match word.parse() {
        Ok(number @ 2..=4094) => Ok(number),
        _ => Err(Error::user(format!("invalid VLAN {word:?}")).hint("2 to 4094: 1 is the bridge's own")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_net_and_perhaps_a_gateway_of_its_family() {
        for (word, want) in [
            ("192.168.1.0/24", Some((None, "192.168.1.0/24"))),
            ("10.0.0.0/8,192.168.0.254", Some((Some("192.168.0.254"), "10.0.0.0/8"))),
            ("10.0.0.0/8,via=192.168.0.254", Some((Some("192.168.0.254"), "10.0.0.0/8"))),
            ("10.0.0.0/8,fd00::1", None),
            ("10.0.0.1/8", None),
            ("10.0.0.0", None),
        ] {
            let want = want.map(|(via, to)| Route { to: to.parse().unwrap(), via: via.map(|ip| ip.parse().unwrap()) });
            assert_eq!(Route::parse(word).ok(), want, "{word}");
        }
    }

    #[test]
    fn what_an_older_shape_does_not_say_is_as_it_was_without_it() {
        let old = r#"{"mtu":1400,"masquerade":true,"internal":false}"#;
        let want = Shape { mtu: Some(1400), ..Shape::default() };
        assert_eq!((serde_json::from_str::<Shape>(old).unwrap(), want.publish_at), (want, None));
    }

    #[test]
    fn a_vlan_has_a_number() {
        let got = ["2", "4094", "1", "4095", "x"].map(|word| vlan(word).is_ok());
        assert_eq!(got, [true, true, false, false, false]);
    }
}
