//! Steps on links, addresses and routes as the kernel's messages. Pure.

use super::names::Mac;
use super::shape::{IpvlanMode, MacvlanMode};
use super::step::{Member, Netns, Step, Sublink, SublinkKind, Veth};
use crate::id::IfName;
use ipnet::IpNet;
use nix::unistd::Pid;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeFlag, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan,
    InfoKind, InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode,
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
        // not NLM_F_EXCL: one that is there is set right (net/core/rtnetlink.c, rtnl_newlink)
        Step::EnsureBridge { name, mac, group, mtu } => (Netns::Host, NLM_F_CREATE, bridge(name, *mac, *group, *mtu)),
        Step::SetAlias { link, alias } => {
            (Netns::Host, 0, set_link(link, vec![LinkAttribute::IfAlias(alias.clone())], None))
        }
        Step::AddVeth(ends) => (Netns::Host, create, veth(ends, index(Netns::Host, &ends.bridge)?, init)),
        Step::SetHairpin { link } => (Netns::Host, 0, port(link, InfoBridgePort::HairpinMode(true))),
        Step::SetIsolated { link } => (Netns::Host, 0, port(link, InfoBridgePort::Isolated(true))),
        Step::FilterVlans { bridge } => (Netns::Host, 0, filter_vlans(bridge)),
        Step::LeaveVlan { link, vlan } => {
            let message = member(index(Netns::Host, link)?, *vlan, Member::Tagged);
            (Netns::Host, 0, RouteNetlinkMessage::DelLink(message))
        }
        Step::JoinVlan { link, vlan, member: how } => {
            let message = member(index(Netns::Host, link)?, *vlan, *how);
            (Netns::Host, 0, RouteNetlinkMessage::SetLink(message))
        }
        Step::EnsureVlanLink { name, bridge, vlan, mac } => {
            (Netns::Host, create, vlan_link(name, index(Netns::Host, bridge)?, *vlan, *mac))
        }
        Step::AddSublink(link) => (Netns::Host, create, sublink(link, index(Netns::Host, &link.parent)?, init)),
        Step::RenameLink { from, to } => {
            let mut message = LinkMessage::default();
            message.header.index = index(Netns::Init, from)?;
            message.attributes = vec![LinkAttribute::IfName(to.to_string())];
            (Netns::Init, 0, RouteNetlinkMessage::SetLink(message))
        }
        Step::AddRoute { netns, to, via, link } => {
            // the host's route to an address follows that to another bridge
            let flags = if *netns == Netns::Host { NLM_F_CREATE | NLM_F_REPLACE } else { create };
            (*netns, flags, RouteNetlinkMessage::NewRoute(route(index(*netns, link)?, to, *via)))
        }
        Step::PlugIn { link, bridge } => {
            let master = vec![LinkAttribute::Controller(index(Netns::Host, bridge)?)];
            (Netns::Host, 0, set_link(link, master, Some(LinkFlags::Up)))
        }
        Step::LinkUp { netns, link } => (*netns, 0, set_link(link, Vec::new(), Some(LinkFlags::Up))),
        Step::AddAddress { netns, link, address } => {
            (*netns, create, RouteNetlinkMessage::NewAddress(self::address(index(*netns, link)?, address)))
        }
        Step::AddDefaultRoute { netns, via, link } => (*netns, create, default_route(index(*netns, link)?, *via)),
        Step::SetSysctl { .. }
        | Step::EnsureRuleset { .. }
        | Step::ReplaceRuleset { .. }
        | Step::EnsureEntries { .. }
        | Step::AllowForward { .. }
        | Step::AllowLegacy { .. }
        | Step::TrustBridge { .. }
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
    let mut message = named(name);
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// The same with its counters.
pub(super) fn get_counted(name: &IfName) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(named(name))
}

fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
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

pub(super) fn set_link(link: &IfName, attributes: Vec<LinkAttribute>, up: Option<LinkFlags>) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.to_string())];
    message.attributes.extend(attributes);
    message.header.flags = up.unwrap_or_else(LinkFlags::empty);
    message.header.change_mask = message.header.flags;
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_NEWLINK without NLM_F_CREATE changes an existing link; RTM_SETLINK ignores the port's data.
fn port(link: &IfName, how: InfoBridgePort) -> RouteNetlinkMessage {
    let port = InfoPortData::BridgePort(vec![how]);
    let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(port)];
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.to_string()), LinkAttribute::LinkInfo(info)];
    RouteNetlinkMessage::NewLink(message)
}

fn filter_vlans(bridge: &IfName) -> RouteNetlinkMessage {
    let data = InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]);
    let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)];
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(bridge.to_string()), LinkAttribute::LinkInfo(info)];
    RouteNetlinkMessage::NewLink(message)
}

/// What `bridge vlan` sends: the bridge's family, the port by its number.
fn member(index: u32, vlan: u16, how: Member) -> LinkMessage {
    let flags = match how {
        Member::Untagged => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
        Member::Tagged | Member::Host => BridgeVlanInfoFlags::empty(),
    };
    let mut spec = vec![AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid: vlan })];
    if how == Member::Host {
        spec.push(AfSpecBridge::Flags(BridgeFlag::LowerDev));
    }
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes = vec![LinkAttribute::AfSpecBridge(spec)];
    message
}

fn vlan_link(name: &IfName, bridge: u32, vlan: u16, mac: Mac) -> RouteNetlinkMessage {
    let data = InfoData::Vlan(vec![InfoVlan::Id(vlan)]);
    let mut message = LinkMessage::default();
    message.attributes = own_end(name, mac, None);
    message.attributes.push(LinkAttribute::Link(bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)]));
    RouteNetlinkMessage::NewLink(message)
}

fn sublink(link: &Sublink, parent: u32, init: Pid) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.name.to_string())];
    message.attributes.extend(link.mtu.map(LinkAttribute::Mtu));
    let (kind, data) = match link.kind {
        SublinkKind::Macvlan(mode, mac) => {
            message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
            let mode = match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
            };
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
        }
        SublinkKind::Ipvlan(mode) => {
            let mode = match mode {
                IpvlanMode::L2 => IpVlanMode::L2,
                IpvlanMode::L3 => IpVlanMode::L3,
                IpvlanMode::L3s => IpVlanMode::L3S,
            };
            (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]))
        }
    };
    message.attributes.push(LinkAttribute::Link(parent));
    message.attributes.push(LinkAttribute::NetNsPid(init.as_raw() as u32));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    RouteNetlinkMessage::NewLink(message)
}

/// An IPv6 address is usable at once (IFA_F_NODAD): we gave it to nobody else.
pub(super) fn address(index: u32, address: &IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    if address.addr().is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
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

/// Without a gateway its scope is the link: who is there answers for himself.
pub(super) fn route(index: u32, to: &IpNet, via: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.addr());
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = rtnetlink::packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = if via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Destination(to.addr().into()), RouteAttribute::Oif(index)];
    message.attributes.extend(via.map(|via| RouteAttribute::Gateway(via.into())));
    message
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
