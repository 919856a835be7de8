//! What the kernel has of networks at this moment, here or in a container's namespace: links, addresses, routes,
//! and entries of our table. For looking alone: nothing is decided by it. Reads only.

use super::entry::Entry;
use super::names::{Mac, Realm};
use super::port::{self, Port, Vlan};
use super::probe;
use super::ruleset;
use super::undo::{alias, find_counted};
use crate::error::{Result, SysResult};
use crate::id::IfName;
use crate::sys::netlink::{self, Socket};
use crate::sys::netns::Visit;
use crate::sys::nftables;
use crate::sys::process::Identity;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, Stats64};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Space {
    pub links: Vec<Link>,
    /// Of the main table, the default ones first, and the preferred before others. Not those that the kernel has made
    /// itself, of a link's addresses.
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    /// None where it is no Ethernet.
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
    pub alias: Option<String>,
    /// What it is plugged into, by its index.
    pub controller: Option<u32>,
    /// The other end of a veth, or what it is a link on, by its index in the other namespace.
    pub peer: Option<u32>,
    /// None where it is plugged into no bridge.
    pub port: Option<Port>,
    /// Without those that every link of IPv6 gives itself.
    pub addresses: Vec<IpNet>,
}

/// A link's counters (IFLA_STATS64).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: Counter,
    pub sent: Counter,
}

/// One direction, since the link was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub to: IpNet,
    /// None where all of it is on the link itself.
    pub via: Option<IpAddr>,
    /// The link's index.
    pub device: u32,
    pub metric: u32,
}

/// The host's own.
pub fn here() -> Result<Space> {
    let addresses = netlink::addresses()?;
    let mut links: Vec<Link> = netlink::links()?.iter().map(|link| view(link, &addresses)).collect();
    links.sort_by_key(|link| link.index);
    let mut routes: Vec<Route> = netlink::routes()?.iter().filter_map(route).collect();
    routes.sort_by_key(|route| (!route.is_default(), route.to.addr().is_ipv6(), route.metric));
    Ok(Space { links, routes })
}

/// One of the host's links, without its addresses, and its counters; `None` where there is none of this name.
pub fn counted(name: &IfName) -> Result<Option<(Link, Counters)>> {
    let Some(link) = find_counted(&mut Socket::route()?, name)? else { return Ok(None) };
    let stats = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(counters(stats)),
        _ => None,
    });
    Ok(Some((view(&link, &[]), stats.unwrap_or_default())))
}

fn counters(of: &Stats64) -> Counters {
    Counters {
        received: Counter { bytes: of.rx_bytes, packets: of.rx_packets, errors: of.rx_errors, dropped: of.rx_dropped },
        sent: Counter { bytes: of.tx_bytes, packets: of.tx_packets, errors: of.tx_errors, dropped: of.tx_dropped },
    }
}

impl Route {
    pub fn is_default(&self) -> bool {
        self.to.prefix_len() == 0
    }
}

/// The VLANs that each port of the host's bridges is in, by the link's index.
pub fn vlans() -> Result<BTreeMap<u32, Vec<Vlan>>> {
    let ports = netlink::bridge_ports()?;
    let of = |port: &LinkMessage| (port.header.index, port::vlans_of(&ports, port.header.index).collect());
    Ok(ports.iter().map(of).collect())
}

/// Where this process is; `None` where it has ended.
pub fn of(process: &Identity) -> Result<Option<Space>> {
    match Visit::to_running(process)? {
        Some(visit) => visit.inside(here)?.map(Some),
        None => Ok(None),
    }
}

/// Link addresses by the addresses that they answer for.
pub type Neighbours = Vec<(IpAddr, Mac)>;

/// What `question` finds in a process's namespace, and the link addresses of the neighbours that are known there after
/// it; `None` where the process has ended.
pub fn ask<T>(process: &Identity, question: impl FnOnce() -> SysResult<T>) -> Result<Option<(T, Neighbours)>> {
    let Some(visit) = Visit::to_running(process)? else { return Ok(None) };
    let inside = || -> SysResult<_> { Ok((question()?, neighbours()?)) };
    Ok(Some(visit.inside(inside)??))
}

/// The neighbours that this thread's network namespace knows.
pub fn neighbours() -> SysResult<Neighbours> {
    Ok(netlink::neighbours()?.iter().filter_map(neighbour).collect())
}

fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::from(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::from(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            _ => {}
        }
    }
    Some((address?, mac?))
}

/// Whether our table has this entry; a port, for this container.
pub fn has(socket: &mut Socket, realm: &Realm, entry: &Entry) -> Result<bool> {
    let table = realm.table();
    let Some(element) = entry.elements().into_iter().next() else { return Ok(false) };
    let found = nftables::element(socket, &ruleset::table(&table), entry.set(), &element.key)?;
    Ok(found.is_some_and(|found| found.comment == element.comment))
}

/// Of IPv4, and of IPv6 where the kernel has that: whether this host is a router.
pub fn forwarding() -> (bool, Option<bool>) {
    let ipv4 = probe::is_on("net/ipv4/ip_forward").unwrap_or(false);
    (ipv4, probe::is_on("net/ipv6/conf/all/forwarding"))
}

/// Whether the host answers on this link for who is behind another one.
pub fn proxy_arp(link: &IfName) -> bool {
    probe::is_on(&format!("net/ipv4/conf/{link}/proxy_arp")).unwrap_or(false)
}

fn view(link: &LinkMessage, addresses: &[AddressMessage]) -> Link {
    let index = link.header.index;
    let mut view = Link {
        name: probe::link_name(link),
        index,
        mac: None,
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        alias: alias(link).map(str::to_owned),
        controller: None,
        peer: None,
        port: port::of(link),
        addresses: addresses.iter().filter(|of| of.header.index == index).filter_map(probe::address).collect(),
    };
    view.addresses.retain(|net| !matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local()));
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => view.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            LinkAttribute::Mtu(mtu) => view.mtu = *mtu,
            LinkAttribute::Controller(index) => view.controller = Some(*index),
            LinkAttribute::Link(index) => view.peer = Some(*index),
            _ => {}
        }
    }
    view
}

fn route(route: &RouteMessage) -> Option<Route> {
    let header = &route.header;
    let made_itself = header.protocol == RouteProtocol::Kernel;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN || made_itself {
        return None;
    }
    let all: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut found = Route { to: all.into(), via: None, device: 0, metric: 0 };
    found.to = IpNet::new(destination(route).unwrap_or(all), header.destination_prefix_length).ok()?;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(metric) => found.metric = *metric,
            // several ways at once: the first stands for all
            RouteAttribute::MultiPath(hops) => {
                let hop = hops.first()?;
                found.device = hop.interface_index;
                hop.attributes.iter().for_each(|attribute| way(&mut found, attribute));
            }
            attribute => way(&mut found, attribute),
        }
    }
    (found.device != 0).then_some(found)
}

/// None of a default route.
fn destination(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}

fn way(found: &mut Route, attribute: &RouteAttribute) {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => found.via = Some((*v4).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => found.via = Some((*v6).into()),
        RouteAttribute::Oif(index) => found.device = *index,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(edit: impl FnOnce(&mut RouteMessage)) -> Option<Route> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Priority(100),
            RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 2, 2].into())),
            RouteAttribute::Oif(2),
        ];
        edit(&mut message);
        route(&message)
    }

    #[test]
    fn a_route_is_one_of_the_main_table_that_somebody_has_set() {
        let to =
            |net: &str| Route { to: net.parse().unwrap(), via: Some([10, 0, 2, 2].into()), device: 2, metric: 100 };
        assert_eq!(said(|_| {}), Some(to("0.0.0.0/0")));
        let net = said(|route| {
            route.header.destination_prefix_length = 8;
            route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet([11, 0, 0, 0].into())));
        });
        assert_eq!(net, Some(to("11.0.0.0/8")));
        assert!(to("0.0.0.0/0").is_default() && !to("11.0.0.0/8").is_default());
        assert_eq!(said(|route| route.header.protocol = RouteProtocol::Kernel), None);
        assert_eq!(said(|route| route.header.table = 255), None);
        assert_eq!(said(|route| route.header.kind = RouteType::Unreachable), None);
        let on_link = said(|route| _ = route.attributes.remove(1)).unwrap();
        assert_eq!((on_link.via, on_link.device), (None, 2));
    }
}
