//! What the kernel has of networks at this moment, here or in a container's namespace: links, addresses, default routes,
//! and entries of our table. For looking alone: nothing is decided by it. Reads only.

use super::entry::Entry;
use super::names::{Mac, Realm};
use super::probe;
use super::ruleset;
use super::undo::alias;
use crate::error::{Result, SysResult};
use crate::sys::netlink::{self, Socket};
use crate::sys::netns::Visit;
use crate::sys::nftables;
use crate::sys::process::Identity;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use std::net::IpAddr;

/// One network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Space {
    pub links: Vec<Link>,
    /// Of the main table, the preferred first.
    pub routes: Vec<DefaultRoute>,
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
    /// The other end of a veth, by its index in the other namespace.
    pub peer: Option<u32>,
    /// Without those that every link of IPv6 gives itself.
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// None where all the world is on the link itself.
    pub via: Option<IpAddr>,
    /// The link's index.
    pub device: u32,
    pub ipv4: bool,
    pub metric: u32,
}

/// The host's own.
pub fn here() -> Result<Space> {
    let addresses = netlink::addresses()?;
    let mut links: Vec<Link> = netlink::links()?.iter().map(|link| view(link, &addresses)).collect();
    links.sort_by_key(|link| link.index);
    let mut routes: Vec<DefaultRoute> = netlink::routes()?.iter().filter_map(default_route).collect();
    routes.sort_by_key(|route| (!route.ipv4, route.metric));
    Ok(Space { links, routes })
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

fn default_route(route: &RouteMessage) -> Option<DefaultRoute> {
    let header = &route.header;
    if header.kind != RouteType::Unicast
        || header.destination_prefix_length != 0
        || header.table != RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    let ipv4 = header.address_family == rtnetlink::packet_route::AddressFamily::Inet;
    let mut found = DefaultRoute { via: None, device: 0, ipv4, metric: 0 };
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

fn way(found: &mut DefaultRoute, attribute: &RouteAttribute) {
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
    use rtnetlink::packet_route::AddressFamily;

    fn route(edit: impl FnOnce(&mut RouteMessage)) -> RouteMessage {
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
        message
    }

    #[test]
    fn a_default_route_is_one_of_the_main_table_to_everywhere() {
        let want = DefaultRoute { via: Some([10, 0, 2, 2].into()), device: 2, ipv4: true, metric: 100 };
        assert_eq!(default_route(&route(|_| {})), Some(want));
        assert_eq!(default_route(&route(|route| route.header.destination_prefix_length = 8)), None);
        assert_eq!(default_route(&route(|route| route.header.table = 255)), None);
        assert_eq!(default_route(&route(|route| route.header.kind = RouteType::Unreachable)), None);
        let on_link = default_route(&route(|route| _ = route.attributes.remove(1))).unwrap();
        assert_eq!((on_link.via, on_link.device), (None, 2));
    }
}
