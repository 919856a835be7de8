//! Steps on links, addresses and routes as the kernel's messages. Pure.

use super::names::Mac;
use super::step::{Netns, Step, Veth};
use crate::id::IfName;
use ipnet::IpNet;
use nix::unistd::Pid;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// One step's message, and where it goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) netns: Netns,
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

/// The message of a step on links, addresses and routes; `None` for other steps. `index` gives the number of a link
/// that the kernel does not take by name.
pub(super) fn request<E>(
    step: &Step,
    init: Pid,
    index: &mut dyn FnMut(Netns, &IfName) -> Result<u32, E>,
) -> Result<Option<Request>, E> {
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let (netns, flags, message) = match step {
        Step::EnsureBridge { name, mac, group, mtu } => (Netns::Host, create, bridge(name, *mac, *group, *mtu)),
        Step::SetAlias { link, alias } => {
            (Netns::Host, 0, set_link(link, vec![LinkAttribute::IfAlias(alias.clone())], None))
        }
        Step::AddVeth(ends) => (Netns::Host, create, veth(ends, index(Netns::Host, &ends.bridge)?, init)),
        Step::SetHairpin { link } => (Netns::Host, 0, hairpin(link)),
        Step::LinkUp { netns, link } => (*netns, 0, set_link(link, Vec::new(), Some(LinkFlags::Up))),
        Step::AddAddress { netns, link, address } => (*netns, create, add_address(index(*netns, link)?, address)),
        Step::AddDefaultRoute { netns, via, link } => (*netns, create, default_route(index(*netns, link)?, *via)),
        Step::SetSysctl { .. }
        | Step::EnsureRuleset { .. }
        | Step::EnsureEntries { .. }
        | Step::AllowForward { .. }
        | Step::HoldPort { .. }
        | Step::Publish { .. }
        | Step::AnswerNames
        | Step::ForgetFlows { .. } => return Ok(None),
    };
    Ok(Some(Request { netns, message, flags }))
}

/// The question for one link by name, without its counters.
pub(super) fn get(name: &IfName) -> RouteNetlinkMessage {
    use rtnetlink::packet_route::link::LinkExtentMask;
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

pub(super) fn delete(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    RouteNetlinkMessage::DelLink(message)
}

fn bridge(name: &IfName, mac: Mac, group: u32, mtu: Option<u32>) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = own_end(name, mac, mtu);
    message.attributes.push(LinkAttribute::Group(group));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    RouteNetlinkMessage::NewLink(message)
}

/// The peer stays down: IFF_UP on it in this message gives ENOTCONN, for its other end is not registered yet
/// (drivers/net/veth.c, veth_newlink and veth_open).
fn veth(ends: &Veth, bridge: u32, init: Pid) -> RouteNetlinkMessage {
    let mut peer = LinkMessage::default();
    peer.attributes = own_end(&ends.peer, ends.peer_mac, ends.mtu);
    peer.attributes.push(LinkAttribute::NetNsPid(init.as_raw() as u32));
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = own_end(&ends.host, ends.mac, ends.mtu);
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::Group(ends.group));
    let data = InfoData::Veth(InfoVeth::Peer(peer));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]));
    RouteNetlinkMessage::NewLink(message)
}

fn own_end(name: &IfName, mac: Mac, mtu: Option<u32>) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(name.to_string()), LinkAttribute::Address(mac.0.to_vec())];
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes
}

fn set_link(link: &IfName, attributes: Vec<LinkAttribute>, up: Option<LinkFlags>) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.to_string())];
    message.attributes.extend(attributes);
    message.header.flags = up.unwrap_or_else(LinkFlags::empty);
    message.header.change_mask = message.header.flags;
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_NEWLINK without NLM_F_CREATE changes an existing link; RTM_SETLINK ignores the port's data.
fn hairpin(link: &IfName) -> RouteNetlinkMessage {
    let port = InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)]);
    let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(port)];
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.to_string()), LinkAttribute::LinkInfo(info)];
    RouteNetlinkMessage::NewLink(message)
}

/// An IPv6 address is usable at once (IFA_F_NODAD): we gave it to nobody else.
fn add_address(index: u32, address: &IpNet) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    if address.addr().is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    RouteNetlinkMessage::NewAddress(message)
}

fn default_route(index: u32, via: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(via);
    message.header.table = rtnetlink::packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Gateway(via.into()), RouteAttribute::Oif(index)];
    RouteNetlinkMessage::NewRoute(message)
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
