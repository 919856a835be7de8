//! Links, addresses and routes made by hand, as `ip` makes them: for labs, which show what a network is made of. Each is
//! one message to this thread's network namespace.

use super::link::{address, route, set_link};
use super::undo::find_link;
use crate::error::{Errno, Error, Kind, Result};
use crate::id::IfName;
use crate::sys::netlink::{Batch, Socket};
use crate::sys::process::Identity;
use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use std::net::Ipv4Addr;

/// What is done in one network namespace (ip-link(8), ip-address(8), ip-route(8)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    AddBridge {
        name: IfName,
    },
    /// A cable; its other end, `peer`, comes into a container where one is named.
    AddVeth {
        name: IfName,
        peer: IfName,
        into: Option<String>,
    },
    /// A tunnel for Ethernet frames over UDP (RFC 7348).
    AddVxlan {
        name: IfName,
        id: u32,
        remote: Ipv4Addr,
    },
    /// The frames of one VLAN, without their tags.
    AddVlan {
        name: IfName,
        link: IfName,
        id: u16,
    },
    PlugIn {
        link: IfName,
        bridge: IfName,
    },
    AddAddress {
        link: IfName,
        address: IpNet,
    },
    Up {
        link: IfName,
    },
    DeleteRoute {
        to: IpNet,
        link: IfName,
    },
}

/// The port that IANA gave to VXLAN; the kernel's own default is older.
const VXLAN_PORT: u16 = 4789;

impl Verb {
    /// From a line as `ip` takes it, word for word one of these forms. `$a` is the pid of container a.
    pub fn parse(line: &str) -> Result<Verb> {
        let words: Vec<&str> = line.split(' ').collect();
        let unknown = || Error::internal(format!("{line}: no such line"));
        let name = IfName::parse;
        Ok(match words[..] {
            ["ip", "link", "add", link, "type", "bridge"] => Verb::AddBridge { name: name(link)? },
            ["ip", "link", "add", link, "type", "veth", "peer", "name", peer] => {
                Verb::AddVeth { name: name(link)?, peer: name(peer)?, into: None }
            }
            ["ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", pid] => {
                let into = Some(pid.strip_prefix('$').ok_or_else(unknown)?.to_owned());
                Verb::AddVeth { name: name(link)?, peer: name(peer)?, into }
            }
            ["ip", "link", "add", link, "type", "vxlan", "id", id, "remote", remote, "dstport", "4789"] => {
                let (id, remote) = (id.parse().map_err(|_| unknown())?, remote.parse().map_err(|_| unknown())?);
                Verb::AddVxlan { name: name(link)?, id, remote }
            }
            ["ip", "link", "add", "link", link, "name", vlan, "type", "vlan", "id", id] => {
                Verb::AddVlan { name: name(vlan)?, link: name(link)?, id: id.parse().map_err(|_| unknown())? }
            }
            ["ip", "link", "set", link, "master", bridge] => Verb::PlugIn { link: name(link)?, bridge: name(bridge)? },
            ["ip", "link", "set", link, "up"] => Verb::Up { link: name(link)? },
            ["ip", "address", "add", address, "dev", link] => {
                Verb::AddAddress { link: name(link)?, address: address.parse().map_err(|_| unknown())? }
            }
            ["ip", "route", "delete", to, "dev", link] => {
                Verb::DeleteRoute { to: to.parse().map_err(|_| unknown())?, link: name(link)? }
            }
            _ => return Err(unknown()),
        })
    }
}

/// Does it in this thread's network namespace; `into` is the container's init that the verb names.
pub fn apply(verb: &Verb, into: Option<&Identity>) -> Result<()> {
    let mut socket = Socket::route()?;
    let mut index = |name: &IfName| match find_link(&mut socket, name)? {
        Some(link) => Ok(link.header.index),
        None => Err(Error::host(format!("there is no link {name}"))),
    };
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let (flags, message) = match verb {
        Verb::AddBridge { name } => (create, RouteNetlinkMessage::NewLink(new_link(name, InfoKind::Bridge, None))),
        Verb::AddVeth { name, peer, .. } => {
            let mut other = LinkMessage::default();
            other.attributes = vec![LinkAttribute::IfName(peer.to_string())];
            other.attributes.extend(into.map(|init| LinkAttribute::NetNsPid(init.pid.0 as u32)));
            (
                create,
                RouteNetlinkMessage::NewLink(new_link(
                    name,
                    InfoKind::Veth,
                    Some(InfoData::Veth(InfoVeth::Peer(other))),
                )),
            )
        }
        Verb::AddVxlan { name, id, remote } => {
            let data = vec![InfoVxlan::Id(*id), InfoVxlan::Group(*remote), InfoVxlan::Port(VXLAN_PORT)];
            (create, RouteNetlinkMessage::NewLink(new_link(name, InfoKind::Vxlan, Some(InfoData::Vxlan(data)))))
        }
        Verb::AddVlan { name, link, id } => {
            let mut message = new_link(name, InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(*id)])));
            message.attributes.push(LinkAttribute::Link(index(link)?));
            (create, RouteNetlinkMessage::NewLink(message))
        }
        Verb::PlugIn { link, bridge } => (0, set_link(link, vec![LinkAttribute::Controller(index(bridge)?)], None)),
        Verb::AddAddress { link, address: net } => {
            (create, RouteNetlinkMessage::NewAddress(address(index(link)?, net)))
        }
        Verb::Up { link } => (0, set_link(link, Vec::new(), Some(LinkFlags::Up))),
        Verb::DeleteRoute { to, link } => (0, RouteNetlinkMessage::DelRoute(any_route(index(link)?, to))),
    };
    let mut batch = Batch::default();
    batch.push_route(message, flags);
    batch.acknowledge();
    let lacks = |errno| matches!((verb, errno), (Verb::AddVxlan { .. }, Errno::EOPNOTSUPP));
    socket.send(&batch, |_, _| false).map_err(|refused| match lacks(refused.errno) {
        true => Error::new(Kind::Kernel, "this kernel has no VXLAN")
            .hint("it takes one with CONFIG_VXLAN, as distributions have it"),
        false => refused.named(format!("{verb:?}")).into(),
    })
}

/// Whoever made it, and however far it reaches: the kernel's own stands with scope link.
fn any_route(index: u32, to: &IpNet) -> rtnetlink::packet_route::route::RouteMessage {
    use rtnetlink::packet_route::route::{RouteProtocol, RouteScope};
    let mut message = route(index, &to.trunc(), None);
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    message
}

fn new_link(name: &IfName, kind: InfoKind, data: Option<InfoData>) -> LinkMessage {
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_string()), LinkAttribute::LinkInfo(info)];
    message
}
