//! What is on the host of our networks, to be held against their records. The table as it should be is made in a network
//! namespace of its own, that nobody else sees, and listed there by the same kernel: so it need not be guessed how that
//! lists it. Changes nothing on the host.

use super::entry::{self, Change};
use super::names::Realm;
use super::network::{Holder, Network};
use super::plan::Cable;
use super::port::{self, vlans_of};
use super::reload::{Survey, content};
use super::segment::sysctls;
use super::shape::Segment;
use super::undo::{alias, find_link};
use super::{firewalld, others, probe, record, ruleset};
use crate::error::{Error, Result};
use crate::id::{HostPath, IfName, Name};
use crate::sys::fs;
use crate::sys::netlink::{self, Socket};
use crate::sys::netns::Visit;
use crate::sys::nftables::{self, Contents, Existing};
use ipnet::IpNet;
use rtnetlink::packet_route::link::{InfoBridgePort, LinkAttribute, LinkFlags, LinkMessage};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// `all` are all networks with the loans of the living; `chosen` those of them to look after.
pub fn survey(state: &HostPath, all: &[Network], chosen: &[Network]) -> Result<Survey> {
    let alive = |_: &Holder| true; // whose is not, is not among them
    let (mut net, socket) = probe::facts(state, chosen, &alive)?;
    let mut socket = socket.ok_or_else(|| Error::host("nf_tables may not be looked into").hint("CAP_NET_ADMIN"))?;
    let table = net.realm.table();
    let is = nftables::contents(&mut socket, &ruleset::table(&table))?;
    let links = netlink::links()?;
    let vlans = match chosen.iter().any(|network| network.shape.has_vlans()) {
        true => netlink::bridge_ports()?,
        false => Vec::new(),
    };
    let routes = host_routes(chosen)?;
    let ipv6 = net.ipv6_forwarding.is_some();
    let mut changed = std::collections::BTreeSet::new();
    for of in &mut net.networks {
        let network = &of.network;
        let bridge = links.iter().find(|link| is_named(link, &network.bridge));
        of.loose = loose((&links, &vlans, &routes), &net.realm, network, bridge.map(|link| link.header.index));
        let own = network.shape.segment == Segment::Bridge; // else another network's
        let host = network.shape.vlan.filter(|_| network.gate.is_some()); // the host is in it by the bridge
        let as_made = |link: &LinkMessage| {
            (!own || is_as_made(link, network, ipv6))
                && host.is_none_or(|vlan| vlans_of(&vlans, link.header.index).any(|of| of.id == vlan))
        };
        if bridge.is_some_and(|link| !as_made(link)) {
            changed.insert(network.name.to_string());
        }
    }
    Ok(Survey { net, changed, is, should: as_it_should_be(&table, all)? })
}

/// Nobody who only looks at containers waits longer for firewalld.
const GLANCE: Duration = Duration::from_millis(500);

/// Whether containers with loans are cut off: our table is gone, or a bridge of ours, nothing is forwarded any more, or
/// somebody has come who drops what he does not know. Quick, and without the networks' lock: some 10 µs where nothing was
/// lent, and as much for each network. False where we may not look.
pub fn is_amiss(state: &HostPath) -> Result<bool> {
    let names = record::names(state)?;
    if names.is_empty() {
        return Ok(false);
    }
    let realm = Realm { state: state.clone() };
    let lent = |name: &Name| {
        let network = record::load(state, name)?;
        Ok::<_, Error>(network.filter(|network| !network.loans.is_empty() && network.shape.is_routed()))
    };
    let mut route = Socket::route()?;
    for name in &names {
        // most have a bridge of this name; others are looked at in their record
        if find_link(&mut route, &realm.bridge(name)?)?.is_none()
            && let Some(network) = lent(name)?
            && find_link(&mut route, network.router())?.is_none()
        {
            return Ok(true);
        }
    }
    let mut socket = Socket::netfilter()?;
    let Ok(table) = nftables::table_exists(&mut socket, &ruleset::table(&realm.table())) else { return Ok(false) };
    let (foreign, has_firewalld) = probe::foreign_chains(&mut socket, &realm.table())?;
    let forwards = probe::is_on("net/ipv4/ip_forward").unwrap_or(false);
    if table && forwards && foreign.is_empty() && !has_firewalld {
        return Ok(false);
    }
    let lent: Vec<Network> = names.iter().filter_map(|name| lent(name).ok().flatten()).collect();
    let stopped = |network: &Network| {
        !table || (!forwards && network.is_forwarded()) || foreign.iter().any(|chain| others::drops(chain, network))
    };
    let bridges: Vec<&IfName> = lent.iter().map(Network::router).collect();
    let distrusted =
        || firewalld::facts(&bridges, GLANCE).ok().flatten().is_some_and(|its| its.trusted.len() < bridges.len());
    Ok(lent.iter().any(stopped) || (has_firewalld && !lent.is_empty() && distrusted()))
}

fn as_it_should_be(table: &str, networks: &[Network]) -> Result<Contents> {
    let mut socket = Visit::to_new()?.inside(Socket::netfilter)??;
    let mut create = ruleset::create(table);
    entry::fill(&mut create, table, &content(networks), Change::Add(Existing::Wanted));
    create.commit(&mut socket).map_err(|refused| refused.named(format!("NFT_MSG_NEWTABLE({table})")))?;
    Ok(nftables::contents(&mut socket, &ruleset::table(table))?.unwrap_or_default())
}

/// The cables of a network whose bridge is not there, or that have no route from the host any more.
pub(super) fn cut_off(realm: &Realm, network: &Network) -> Result<Vec<Cable>> {
    let links = netlink::links()?;
    let bridge = links.iter().find(|link| is_named(link, &network.bridge)).map(|link| link.header.index);
    // what only `network reload` looks at counts as well
    let vlans = if network.shape.has_vlans() { netlink::bridge_ports()? } else { Vec::new() };
    Ok(loose((&links, &vlans, &host_routes(std::slice::from_ref(network))?), realm, network, bridge))
}

/// Where the host's routes lead, and by which link; nothing where these networks need none for each container.
fn host_routes(networks: &[Network]) -> Result<Vec<(IpNet, u32)>> {
    match networks.iter().any(|network| network.shape.proxy_arp) {
        true => Ok(netlink::routes()?.iter().filter_map(probe::destination).collect()),
        false => Ok(Vec::new()),
    }
}

/// Those of the network's containers that are down, not on the bridge, would not hand back what comes from them, are not
/// kept from those from which they should be, or have lost their route from the host, as by a bridge that was down.
fn loose(
    (links, vlans, routes): (&[LinkMessage], &[LinkMessage], &[(IpNet, u32)]),
    realm: &Realm,
    network: &Network,
    bridge: Option<u32>,
) -> Vec<Cable> {
    let of = |link: &LinkMessage| {
        let mark = alias(link).filter(|_| link.attributes.contains(&LinkAttribute::Group(network.group)))?;
        let loan = network.loans.iter().find(|loan| realm.container_mark(&loan.holder.container) == mark)?;
        let hairpin = !loan.published.is_empty();
        let plugged = bridge.is_some_and(|index| link.attributes.contains(&LinkAttribute::Controller(index)));
        let up = link.header.flags.contains(LinkFlags::Up);
        let has = |wanted: bool, flag| !wanted || port::infos(link).any(|info| *info == flag);
        let flags = has(hairpin, InfoBridgePort::HairpinMode(true))
            && has(network.shape.isolated, InfoBridgePort::Isolated(true));
        let is_host = |(net, by): &&(IpNet, u32)| net.prefix_len() == net.max_prefix_len() && Some(*by) == bridge;
        let led = |ip: &IpAddr| routes.iter().filter(is_host).any(|(net, _)| net.addr() == *ip);
        let routed = !network.shape.proxy_arp || loan.addresses.iter().all(led);
        if plugged && up && flags && routed && is_member(vlans, link, network) {
            return None;
        }
        Some(Cable { link: IfName::parse(&name(link)?).ok()?, container: loan.holder.container.clone(), hairpin })
    };
    links.iter().filter_map(of).collect()
}

/// Whether a port is in the VLANs of its network, and not in the one that a new port is in.
fn is_member(vlans: &[LinkMessage], link: &LinkMessage, network: &Network) -> bool {
    let is_in =
        |vlan: u16, untagged: bool| vlans_of(vlans, link.header.index).any(|of| of.id == vlan && of.tagged != untagged);
    let shape = &network.shape;
    !shape.has_vlans()
        || (shape.vlan.is_none_or(|vlan| is_in(vlan, true))
            && shape.trunk.iter().all(|vlan| is_in(*vlan, false))
            && !is_in(1, true))
}

fn is_as_made(link: &LinkMessage, network: &Network, ipv6: bool) -> bool {
    let has = |attribute: LinkAttribute| link.attributes.contains(&attribute);
    let set = |(key, value): (String, &str)| {
        fs::read_text(&Path::new("/proc/sys").join(key)).is_ok_and(|text| text.trim() == value)
    };
    has(LinkAttribute::Address(network.mac.0.to_vec()))
        && has(LinkAttribute::Group(network.group))
        && network.shape.mtu.is_none_or(|mtu| has(LinkAttribute::Mtu(mtu)))
        && sysctls(network, ipv6).into_iter().all(set)
}

fn is_named(link: &LinkMessage, wanted: &IfName) -> bool {
    name(link).is_some_and(|name| name == wanted.as_str())
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}
