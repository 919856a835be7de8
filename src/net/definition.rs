//! A network as people make it, from their words to what is kept: its subnets are checked, and what nobody said is
//! chosen. Pure. It outlives a reboot, where the record of what it has lent does not.

use super::names::Realm;
use super::network::{Network, Subnet, following, usable};
use super::shape::{Segment, Shape};
use super::subnet::{self, Used};
use crate::error::{Error, Result};
use crate::id::Name;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub name: Name,
    /// 64 hex digits.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    pub labels: BTreeMap<String, String>,
    pub subnets: Vec<Subnet>,
    pub shape: Shape,
}

/// What is asked of a new network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Where none is of IPv4 one is chosen, if that is wanted, and where none is of IPv6 if that is wanted.
    pub subnets: Vec<IpNet>,
    /// Each belongs to the subnet that holds it; the first address of the subnets that have none.
    pub gateways: Vec<IpAddr>,
    pub ranges: Vec<IpNet>,
    pub reserved: Vec<IpAddr>,
    /// The host's own addresses on that wire: reserved where they are in one of the subnets.
    pub own: Vec<IpAddr>,
    /// The host is not in its subnets, and nothing leads out.
    pub no_gateway: bool,
    /// With a subnet of IPv6, where none is given.
    pub ipv6: bool,
    /// Without a subnet of IPv4.
    pub ipv6_alone: bool,
    pub labels: BTreeMap<String, String>,
    pub shape: Shape,
}

/// The subnets of a new network; `used` is what they may not overlap.
pub fn subnets(wish: &Wish, name: &Name, realm: &Realm, used: &[Used]) -> Result<Vec<Subnet>> {
    let mut nets = wish.subnets.clone();
    if !wish.ipv6_alone && !nets.iter().any(|net| net.addr().is_ipv4()) {
        nets.insert(0, subnet::choose(used)?);
    }
    if wish.ipv6 && !nets.iter().any(|net| net.addr().is_ipv6()) {
        nets.push(subnet::choose_v6(used, |attempt| realm.unique_local(name, attempt))?);
    }
    check_mtu(wish.shape.mtu, &nets)?;
    let mut subnets: Vec<Subnet> = Vec::new();
    for net in nets {
        check_net(&net)?;
        subnet::check(&net, used)?;
        let before: Vec<Used> =
            subnets.iter().map(|other| Used { net: other.net, by: "the same network".to_owned() }).collect();
        subnet::check(&net, &before)?;
        subnets.push(Subnet { gateway: None, ..Subnet::with_gateway(net) });
    }
    let of = |subnets: &mut Vec<Subnet>, what: &str, ip: IpAddr| {
        let found = subnets.iter().position(|subnet| subnet.net.contains(&ip));
        found.ok_or_else(|| {
            Error::user(format!("{what} {ip} is in none of the network's subnets"))
                .hint("give the subnet, too: --subnet 10.1.0.0/24")
        })
    };
    for gateway in &wish.gateways {
        let index = of(&mut subnets, "gateway", *gateway)?;
        if !usable(&subnets[index].net, *gateway) {
            let net = subnets[index].net;
            return Err(
                Error::user(format!("gateway {gateway} names subnet {net} itself")).hint("give another address")
            );
        }
        if subnets[index].gateway.replace(*gateway).is_some() {
            return Err(Error::user(format!("subnet {} has two gateways", subnets[index].net)).hint("leave out one"));
        }
    }
    for range in &wish.ranges {
        let index = of(&mut subnets, "range", range.network())?;
        if !subnets[index].net.contains(range) {
            let net = subnets[index].net;
            return Err(Error::user(format!("range {range} reaches out of subnet {net}")).hint("give a part of it"));
        }
        subnets[index].next = range.network();
        if subnets[index].range.replace(*range).is_some() {
            return Err(Error::user(format!("subnet {} has two ranges", subnets[index].net)).hint("leave out one"));
        }
    }
    for address in &wish.reserved {
        let index = of(&mut subnets, "address", *address)?;
        subnets[index].reserved.push(*address);
    }
    for subnet in &mut subnets {
        subnet.reserved.extend(wish.own.iter().filter(|ip| subnet.net.contains(*ip)));
    }
    for route in &wish.shape.routes {
        if let Some(via) = route.via {
            of(&mut subnets, "gateway of a route", via)?;
        }
    }
    for subnet in subnets.iter_mut().filter(|subnet| subnet.gateway.is_none() && !wish.no_gateway) {
        subnet.gateway = Some(following(subnet.net.network()));
    }
    Ok(subnets)
}

/// Two addresses at least, one of them for the gateway; and no bits behind the prefix, which are a mistake.
fn check_net(net: &IpNet) -> Result<()> {
    if net.addr() != net.network() {
        return Err(Error::user(format!("invalid subnet {net}: its address has more bits than its prefix"))
            .hint(format!("it should be {}", net.trunc())));
    }
    let small = net.max_prefix_len() - net.prefix_len() < 2;
    let multicast = net.addr().is_multicast() || net.addr().is_loopback() || is_nobodys(net);
    match (small, multicast) {
        (true, _) => Err(Error::user(format!("subnet {net} is too small")).hint("a /30 has two addresses, a /24 254")),
        (_, true) => Err(Error::user(format!("subnet {net} is none for hosts")).hint("take one of 10.0.0.0/8")),
        _ => Ok(()),
    }
}

/// Link-local addresses are each link's own (RFC 3927, RFC 4291), and the first and last blocks of IPv4 are no hosts'
/// (RFC 1122).
fn is_nobodys(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

/// What IPv4 and IPv6 (RFC 8200, 5) must be able to send in one piece.
fn check_mtu(mtu: Option<u32>, nets: &[IpNet]) -> Result<()> {
    let least = if nets.iter().any(|net| net.addr().is_ipv6()) { 1280 } else { 68 };
    match mtu {
        Some(mtu) if !(least..=65535).contains(&mtu) => {
            Err(Error::user(format!("invalid MTU {mtu}")).hint(format!("here it is {least} to 65535")))
        }
        _ => Ok(()),
    }
}

/// Of all networks those that share a subnet with this one, each on a bridge of its own (proxy ARP).
pub fn beside(all: &[Definition], name: &Name, shape: &Shape, nets: &[IpNet]) -> Vec<Name> {
    let same = |other: &&Definition| {
        let shares = |net: &IpNet| other.subnets.iter().any(|subnet| subnet.net.trunc() == net.trunc());
        let alike = shape.proxy_arp && other.shape.proxy_arp && shape.internal == other.shape.internal;
        alike && other.name != *name && nets.iter().any(shares)
    };
    all.iter().filter(same).map(|other| other.name.clone()).collect()
}

impl Definition {
    /// The network, which has lent nothing yet; `beside` are those that have the same subnet.
    pub fn network(&self, realm: &Realm, beside: &[Name]) -> Result<Network> {
        let plain = Network::new(realm, &self.name, self.subnets.clone())?;
        let bridge = match &self.shape.segment {
            Segment::Bridge => plain.bridge.clone(),
            Segment::Shared(other) => realm.bridge(other)?,
            Segment::Foreign(link) => link.clone(),
            Segment::Macvlan { parent, .. } | Segment::Ipvlan { parent, .. } => parent.clone(),
        };
        let mut network = Network { bridge, shape: self.shape.clone(), ..plain };
        if self.shape.vlan.is_some() && !network.gateways().is_empty() {
            network.gate = Some(realm.vlan_link(&self.name)?);
        }
        network.beside = beside.iter().map(|other| realm.bridge(other)).collect::<Result<_>>()?;
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HostPath;

    fn made(wish: &Wish, used: &[&str]) -> Result<Vec<Subnet>> {
        let used: Vec<Used> =
            used.iter().map(|net| Used { net: net.parse().unwrap(), by: "route via tun0".into() }).collect();
        let realm = Realm { state: HostPath::parse("/run/minirun").unwrap() };
        subnets(wish, &Name::parse("web").unwrap(), &realm, &used)
    }

    fn wish(nets: &[&str]) -> Wish {
        Wish { subnets: nets.iter().map(|net| net.parse().unwrap()).collect(), ..Wish::default() }
    }

    #[test]
    fn what_nobody_says_is_chosen() {
        let got = made(&Wish { ipv6: true, ..wish(&[]) }, &["172.18.0.0/16"]).unwrap();
        assert_eq!(got[0].net.to_string(), "172.19.0.0/16");
        assert_eq!(got[0].gateway, Some("172.19.0.1".parse().unwrap()));
        let v6 = got[1].net.to_string();
        assert!(v6.starts_with("fd") && v6.ends_with("::/64"), "{v6}");
        let other = made(&Wish { ipv6: true, ..wish(&[]) }, &["fd00::/8"]);
        assert!(other.unwrap_err().message.contains("IPv6"));
        assert_eq!(made(&Wish { ipv6: true, ..wish(&["fd00:1::/64"]) }, &[]).unwrap().len(), 2); // as with docker
        let alone = made(&Wish { ipv6: true, ipv6_alone: true, ..wish(&[]) }, &[]).unwrap();
        assert!(alone.len() == 1 && alone[0].net.addr().is_ipv6());
    }

    #[test]
    fn gateways_ranges_and_reserved_addresses_find_their_subnet() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let asked = Wish {
            gateways: vec![address("10.2.0.254")],
            ranges: vec!["10.1.0.128/25".parse().unwrap()],
            reserved: vec![address("10.2.0.7")],
            ..wish(&["10.1.0.0/24", "10.2.0.0/24"])
        };
        let got = made(&asked, &[]).unwrap();
        assert_eq!(got[0].gateway, Some(address("10.1.0.1")));
        assert_eq!((got[0].range, got[0].next), (Some("10.1.0.128/25".parse().unwrap()), address("10.1.0.128")));
        assert_eq!((got[1].gateway, &got[1].reserved[..]), (Some(address("10.2.0.254")), &[address("10.2.0.7")][..]));
        let none = made(&Wish { no_gateway: true, ..wish(&["10.1.0.0/24"]) }, &[]).unwrap();
        assert_eq!(none[0].gateway, None);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        let address = |text: &str| text.parse().unwrap();
        let one = wish(&["10.1.0.0/24"]);
        for (wish, used, part) in [
            (one.clone(), "10.0.0.0/8", "overlaps 10.0.0.0/8 (route via tun0)"),
            (wish(&["10.1.0.0/24", "10.1.0.0/16"]), "9.0.0.0/8", "overlaps 10.1.0.0/24 (the same network)"),
            (wish(&["10.1.0.5/24"]), "9.0.0.0/8", "more bits than its prefix"),
            (wish(&["10.1.0.0/31"]), "9.0.0.0/8", "too small"),
            (wish(&["224.0.0.0/24"]), "9.0.0.0/8", "none for hosts"),
            (Wish { gateways: vec![address("10.2.0.1")], ..one.clone() }, "9.0.0.0/8", "in none of"),
            (Wish { gateways: vec![address("10.1.0.255")], ..one.clone() }, "9.0.0.0/8", "itself"),
            (
                Wish { gateways: vec![address("10.1.0.1"), address("10.1.0.2")], ..one.clone() },
                "9.0.0.0/8",
                "two gateways",
            ),
            (Wish { ranges: vec!["10.1.0.0/16".parse().unwrap()], ..one.clone() }, "9.0.0.0/8", "reaches out"),
            (
                Wish {
                    ranges: ["10.1.0.0/25", "10.1.0.128/25"].map(|net| net.parse().unwrap()).to_vec(),
                    ..one.clone()
                },
                "9.0.0.0/8",
                "two ranges",
            ),
            (Wish { shape: Shape { mtu: Some(40), ..Shape::default() }, ..one.clone() }, "9.0.0.0/8", "invalid MTU"),
            (
                Wish { shape: Shape { mtu: Some(1000), ..Shape::default() }, ipv6: true, ..one },
                "9.0.0.0/8",
                "invalid MTU",
            ),
        ] {
            let error = made(&wish, &[used]).unwrap_err();
            assert!(error.message.contains(part) && error.hint.is_some(), "{part}: {error}");
        }
    }
}
