//! Undos, done; and the questions that they and others ask about links and ports of ours. An object of a shared
//! namespace is removed only where it carries our mark.

use super::entry::{self, Change, Entry};
use super::link;
use super::probe::address;
use super::publish::{Protocol, Published};
use super::ruleset;
use super::step::{Undo, udp_ports};
use crate::error::{Errno, Result};
use crate::id::{ContainerId, IfName};
use crate::sys::conntrack;
use crate::sys::netlink::{self, Batch, Dump, Socket};
use crate::sys::nftables;
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use std::net::IpAddr;

/// The link of this name, where there is one.
pub(super) fn find_link(socket: &mut Socket, name: &IfName) -> Result<Option<LinkMessage>> {
    find(socket, name, link::get(name))
}

/// The same with its counters.
pub(super) fn find_counted(socket: &mut Socket, name: &IfName) -> Result<Option<LinkMessage>> {
    find(socket, name, link::get_counted(name))
}

fn find(socket: &mut Socket, name: &IfName, question: RouteNetlinkMessage) -> Result<Option<LinkMessage>> {
    use rtnetlink::packet_core::Parseable as _;
    match socket.ask_route(question, Dump::One) {
        Err(refused) if refused.errno == Errno::ENODEV => Ok(None),
        Err(refused) => Err(refused.named(format!("RTM_GETLINK({name})")).into()),
        Ok(replies) => Ok(replies.first().and_then(|reply| LinkMessage::parse(&reply.body[..]).ok())),
    }
}

/// The id of the container that has this port in our table.
pub fn port_owner(socket: &mut Socket, table: &str, port: &Published) -> Result<Option<ContainerId>> {
    let set = Entry::Port(port.clone(), String::new()).set();
    let found = nftables::element(socket, &ruleset::table(table), set, &entry::key(port))?;
    Ok(found.and_then(|found| found.comment).and_then(|comment| ContainerId::parse(&comment).ok()))
}

/// Takes back what a step did; what is gone already is taken back. A socket whose closing waits for the kernel is left
/// in `lingering`.
pub fn undo(undo: &Undo, lingering: &mut Vec<Socket>) -> Result<()> {
    match undo {
        Undo::DeleteLink { link, mark } => delete_link(link, mark),
        Undo::Unpublish { table, owner, ports } => {
            let mut socket = Socket::netfilter()?;
            let done = unpublish(&mut socket, table, owner, ports);
            lingering.push(socket);
            done
        }
    }
}

/// Deletes a link that carries our mark, or none: it may have been made and not yet marked.
pub(super) fn delete_link(name: &IfName, mark: &str) -> Result<()> {
    let mut socket = Socket::route()?;
    let Some(found) = find_link(&mut socket, name)? else { return Ok(()) };
    if alias(&found).is_some_and(|alias| alias != mark) {
        return Ok(());
    }
    let mut batch = Batch::default();
    batch.push_route(link::delete(found.header.index), 0);
    batch.acknowledge();
    let gone = |errno| errno == Errno::ENODEV;
    Ok(socket.send(&batch, |_, errno| gone(errno)).map_err(|e| e.named(format!("RTM_DELLINK({name})")))?)
}

pub(super) fn delete_route(to: &IpNet, name: &IfName) -> Result<()> {
    let mut socket = Socket::route()?;
    let Some(found) = find_link(&mut socket, name)? else { return Ok(()) };
    let mut batch = Batch::default();
    batch.push_route(RouteNetlinkMessage::DelRoute(link::route(found.header.index, to, None)), 0);
    batch.acknowledge();
    let gone = |errno| errno == Errno::ESRCH;
    Ok(socket.send(&batch, |_, errno| gone(errno)).map_err(|e| e.named(format!("RTM_DELROUTE({to}, {name})")))?)
}

pub(super) fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    })
}

fn unpublish(socket: &mut Socket, table: &str, owner: &str, ports: &[Published]) -> Result<()> {
    let mut own = Vec::new();
    for port in ports {
        let entry = Entry::Port(port.clone(), owner.to_owned());
        let found = nftables::element(socket, &ruleset::table(table), entry.set(), &entry::key(port))?;
        if found.is_some_and(|found| found.comment.as_deref() == Some(owner)) {
            own.push(entry);
        }
    }
    remove_entries(socket, table, &own)?;
    let udp = udp_ports(ports);
    if !udp.is_empty() {
        forget_flows(socket, Protocol::Udp, &udp)?;
    }
    Ok(())
}

/// Removes entries; gone already is success.
pub(super) fn remove_entries(socket: &mut Socket, table: &str, entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    match entry::change(table, entries, Change::Remove).commit(socket) {
        // somebody has removed one in between, for which the kernel has left the others
        Err(refused) if refused.errno == Errno::ENOENT && entries.len() > 1 => {
            entries.iter().try_for_each(|entry| remove_entries(socket, table, std::slice::from_ref(entry)))
        }
        Err(refused) if refused.errno != Errno::ENOENT => {
            Err(refused.named(format!("NFT_MSG_DELSETELEM({table})")).into())
        }
        _ => Ok(()),
    }
}

/// Forgets the flows to these ports of the host.
pub(super) fn forget_flows(socket: &mut Socket, protocol: Protocol, ports: &[u16]) -> Result<()> {
    let own: Vec<IpAddr> = netlink::addresses()?.iter().filter_map(address).map(|net| net.addr()).collect();
    Ok(conntrack::forget(socket, protocol.number(), ports, &own)?)
}
