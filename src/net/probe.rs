//! What there is: our bridge and table, forwarding, other people's chains, and the addresses that the host uses.
//! Reads only.

use super::entry::Entry;
use super::firewalld;
use super::legacy;
use super::names::Realm;
use super::network::{Holder, Network};
use super::plan::{BridgeFacts, ForeignFacts, NetFacts, NetworkFacts};
use super::publish::{HostPort, Protocol, Publish};
use super::record;
use super::ruleset;
use super::step::ForeignChain;
use super::subnet::Used;
use super::survey;
use super::undo::{alias, find_link};
use crate::error::{Errno, Error, Result};
use crate::id::{HostPath, IfName};
use crate::sys::fs;
use crate::sys::iptables::Family;
use crate::sys::netlink::{self, Dump, Socket};
use crate::sys::netns::{self, Transport};
use crate::sys::nftables::{self, BaseChain};
use ipnet::IpNet;
use rtnetlink::packet_core::Parseable as _;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The planner's facts about these networks (those of the request, in its order). A normal user may not ask nf_tables
/// and is told what root would see on a host without rules.
/// Comes with the socket that it asked nf_tables by, if it may: whoever is in a hurry closes it later.
pub fn facts(
    state: &HostPath,
    networks: &[Network],
    alive: &dyn Fn(&Holder) -> bool,
) -> Result<(NetFacts, Option<Socket>)> {
    let realm = Realm { state: state.clone() };
    let mut rules = Rules::of(&realm)?;
    let mut route = Socket::route()?;
    let mut of = Vec::new();
    let networks = &with_bridge_mates(state, &mut route, networks)?;
    for network in networks {
        let there = bridge(&mut route, &network.bridge)?;
        let router = match &network.gate {
            Some(gate) => bridge(&mut route, gate)?,
            None => there.clone(),
        };
        // the routes to each container, which proxy ARP needs, go with a bridge that is down for a moment
        let lost = (there.is_none() || network.shape.proxy_arp) && !network.loans.is_empty();
        let loose = if lost && network.shape.is_routed() { survey::cut_off(&realm, network)? } else { Vec::new() };
        let entries = rules.know(network.router())?;
        of.push(NetworkFacts { network: network.clone(), bridge: there, router, entries, loose });
    }
    let rebuild = if rules.table { Vec::new() } else { living(state, networks, alive)? };
    let ipv6_forwarding = is_on("net/ipv6/conf/all/forwarding");
    let about_to = ipv6_forwarding == Some(false) && networks.iter().any(Network::has_ipv6_gateway);
    let (foreign, has_firewalld) = rules.foreign()?;
    let routed: Vec<&Network> = networks.iter().filter(|network| network.shape.is_routed()).collect();
    let bridges: Vec<&IfName> = routed.iter().map(|network| network.router()).collect();
    let facts = NetFacts {
        ip_forward: is_on("net/ipv4/ip_forward").unwrap_or(false),
        ipv6_forwarding,
        advertised: if about_to { advertised()? } else { Vec::new() },
        table: rules.table,
        networks: of,
        rebuild,
        foreign,
        // who has no rules here is not asked: on most hosts that would be for nothing
        firewalld: if has_firewalld { firewalld::facts(&bridges, firewalld::PATIENCE)? } else { None },
        legacy: [Family::V4, Family::V6].into_iter().flat_map(|of| legacy::facts(&routed, of)).collect(),
        realm,
    };
    Ok((facts, rules.socket))
}

/// These networks, and the others of bridges that are not there: whoever makes one makes it for all that are on it.
fn with_bridge_mates(state: &HostPath, route: &mut Socket, networks: &[Network]) -> Result<Vec<Network>> {
    let mut missing = BTreeSet::new();
    for network in networks.iter().filter(|network| network.shape.is_routed()) {
        if find_link(route, &network.bridge)?.is_none() {
            missing.insert(&network.bridge);
        }
    }
    let mut all = networks.to_vec();
    if !missing.is_empty() {
        let (recorded, _) = record::all(state)?;
        let is_known = |one: &Network| networks.iter().any(|network| network.name == one.name);
        all.extend(recorded.into_iter().filter(|one| missing.contains(&one.bridge) && !is_known(one)));
    }
    Ok(all)
}

/// Whether the host has a link of this name.
pub fn is_link(name: &IfName) -> Result<bool> {
    Ok(find_link(&mut Socket::route()?, name)?.is_some())
}

/// Whether the host has a bridge of this name.
pub fn is_bridge(name: &str) -> Result<bool> {
    let kind = LinkInfo::Kind(InfoKind::Bridge);
    let is = |link: &LinkMessage| {
        let has =
            |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.contains(&kind));
        link_name(link) == name && link.attributes.iter().any(has)
    };
    Ok(netlink::links()?.iter().any(is))
}

/// The addresses of a link.
pub fn addresses_of(name: &IfName) -> Result<Vec<IpAddr>> {
    let links = netlink::links()?;
    let index = links.iter().find(|link| link_name(link) == name.as_str()).map(|link| link.header.index);
    let own = netlink::addresses()?.into_iter().filter(|of| Some(of.header.index) == index);
    Ok(own.filter_map(|of| address(&of)).map(|net| net.addr()).collect())
}

/// Whether a bridge keeps VLANs apart, and has new ports in VLAN 1 (ip-link(8), vlan_filtering and vlan_default_pvid).
pub fn filters_vlans(name: &IfName) -> Result<bool> {
    let Some(link) = find_link(&mut Socket::route()?, name)? else { return Ok(false) };
    let info = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    });
    let data = info.into_iter().flatten().find_map(|one| match one {
        LinkInfo::Data(InfoData::Bridge(data)) => Some(data),
        _ => None,
    });
    Ok(data.is_some_and(|data| {
        data.contains(&InfoBridge::VlanFiltering(true)) && data.contains(&InfoBridge::VlanDefaultPvid(1))
    }))
}

/// What nf_tables holds, as far as we may see it.
struct Rules {
    socket: Option<Socket>,
    name: String,
    table: bool,
}

impl Rules {
    fn of(realm: &Realm) -> Result<Rules> {
        let mut socket = Socket::netfilter()?;
        let name = realm.table();
        match nftables::table_exists(&mut socket, &ruleset::table(&name)) {
            Err(e) if e.errno == Errno::EPERM => Ok(Rules { socket: None, name, table: false }),
            table => Ok(Rules { socket: Some(socket), name, table: table? }),
        }
    }

    fn know(&mut self, bridge: &IfName) -> Result<bool> {
        let Some(socket) = self.socket.as_mut().filter(|_| self.table) else { return Ok(false) };
        let set = Entry::Bridge(bridge.clone()).set();
        let found = nftables::element(socket, &ruleset::table(&self.name), set, &ruleset::ifname(bridge.as_str()))?;
        Ok(found.is_some())
    }

    /// Chains that drop, and whether firewalld has some.
    fn foreign(&mut self) -> Result<(Vec<ForeignFacts>, bool)> {
        let Some(socket) = &mut self.socket else { return Ok((Vec::new(), false)) };
        foreign_chains(socket, &self.name)
    }
}

/// Where others drop what they do not know, and whether firewalld has chains; `own` is our table.
pub(super) fn foreign_chains(socket: &mut Socket, own: &str) -> Result<(Vec<ForeignFacts>, bool)> {
    let chains = nftables::chains(socket)?;
    let mut foreign = Vec::new();
    for mut chain in dropping(&chains, own) {
        let mut rules = rules_of(socket, &chain)?;
        if let Some(user) = for_others(&chains, &chain)
            && rules.iter().any(|rule| rule.jumps_to.as_ref() == Some(&user.chain))
        {
            (rules, chain) = (rules_of(socket, &user)?, user);
        }
        foreign.push(ForeignFacts { comments: rules.into_iter().filter_map(|r| r.comment).collect(), chain });
    }
    Ok((foreign, owners(&chains).contains(&FIREWALLD)))
}

fn rules_of(socket: &mut Socket, chain: &ForeignChain) -> Result<Vec<nftables::Rule>> {
    let table = nftables::Table { family: chain.family, name: &chain.table };
    Ok(nftables::rules(socket, &table, &chain.chain)?)
}

/// Whether somebody else hands on packets here, and would stop to if the host did not: by the names of their tables and
/// chains. `false` where we may not look.
pub(super) fn others_forward(realm: &Realm) -> bool {
    let chains = Socket::netfilter().and_then(|mut socket| nftables::chains(&mut socket)).unwrap_or_default();
    let of = |chain: &BaseChain| {
        let table = ["minirun", "netavark", "libvirt", "incus", "lxd"].iter().any(|name| chain.table.starts_with(name));
        let chains = ["DOCKER", "NETAVARK", "LIBVIRT_", "CNI-", "KUBE-", "FLANNEL", "cali-"];
        table || chains.iter().any(|name| chain.name.starts_with(name))
    };
    chains.iter().filter(|chain| chain.table != realm.table()).any(of)
}

/// What others have in nf_tables that may concern packets of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Where packets are dropped that nobody lets through: `ip filter FORWARD`.
    pub dropping: Vec<String>,
    /// Programs whose chains there are.
    pub owners: Vec<&'static str>,
}

/// `None` where we may not look.
pub fn foreign(state: &HostPath) -> Result<Option<Foreign>> {
    let Rules { socket, name, .. } = Rules::of(&Realm { state: state.clone() })?;
    let Some(mut socket) = socket else { return Ok(None) };
    let chains = nftables::chains(&mut socket)?;
    let (dropping, _) = foreign_chains(&mut socket, &name)?;
    let dropping = dropping.iter().map(|facts| facts.chain.text()).collect();
    Ok(Some(Foreign { dropping, owners: owners(&chains) }))
}

/// Whether the kernel has nf_tables, though we may not look into it.
pub fn has_nf_tables() -> bool {
    let table = ruleset::table("minirun");
    let asked = Socket::netfilter().and_then(|mut socket| nftables::table_exists(&mut socket, &table));
    asked.is_ok() || asked.is_err_and(|e| e.errno == Errno::EPERM)
}

const FIREWALLD: &str = "firewalld";

fn owners(chains: &[BaseChain]) -> Vec<&'static str> {
    let is = |test: &dyn Fn(&BaseChain) -> bool, name| chains.iter().any(test).then_some(name);
    let found = [
        is(&|chain| chain.name.starts_with("DOCKER"), "docker"),
        // its two backends
        is(&|chain| chain.table == "firewalld" || chain.name == "FORWARD_ZONES", FIREWALLD),
        is(&|chain| chain.name.starts_with("ufw-"), "ufw"),
    ];
    found.into_iter().flatten().collect()
}

/// Where to let packets through: each base chain at the forward hook whose policy is drop.
fn dropping(chains: &[BaseChain], own: &str) -> Vec<ForeignChain> {
    let families = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6, libc::NFPROTO_INET].map(|family| family as u8);
    let drops = |chain: &&BaseChain| {
        chain.hook == Some(libc::NF_INET_FORWARD as u32)
            && chain.policy == Some(libc::NF_DROP as u32)
            && families.contains(&chain.family)
            && chain.table != own
    };
    chains.iter().filter(drops).map(as_foreign).collect()
}

/// The chain that docker keeps for others in the same table: docker's own rules come after it, and it goes on with each
/// start of docker. It counts only where it is jumped to.
fn for_others(chains: &[BaseChain], base: &ForeignChain) -> Option<ForeignChain> {
    let is = |other: &&BaseChain| {
        (other.family, &other.table, other.name.as_str()) == (base.family, &base.table, "DOCKER-USER")
    };
    chains.iter().find(is).map(as_foreign)
}

fn as_foreign(chain: &BaseChain) -> ForeignChain {
    ForeignChain { family: chain.family, table: chain.table.clone(), chain: chain.name.clone() }
}

fn bridge(socket: &mut Socket, name: &IfName) -> Result<Option<BridgeFacts>> {
    let Some(link) = find_link(socket, name)? else { return Ok(None) };
    let index = link.header.index;
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let replies = socket.ask_route(question, Dump::All).map_err(|e| e.named("RTM_GETADDR"))?;
    let messages = replies.iter().filter_map(|reply| AddressMessage::parse(&reply.body[..]).ok());
    let addresses = messages.filter(|message| message.header.index == index).filter_map(|m| address(&m)).collect();
    let up = link.header.flags.contains(LinkFlags::Up);
    Ok(Some(BridgeFacts { up, alias: alias(&link).map(str::to_owned), addresses }))
}

/// IFA_LOCAL is the own address, where IFA_ADDRESS may be a peer's; IPv6 has only the latter.
pub(super) fn address(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

fn living(state: &HostPath, changed: &[Network], alive: &dyn Fn(&Holder) -> bool) -> Result<Vec<Network>> {
    let (recorded, _) = record::all(state)?;
    let not_changed = |network: &Network| !changed.iter().any(|other| other.name == network.name);
    let mut all: Vec<Network> = recorded.into_iter().filter(not_changed).collect();
    all.extend(changed.iter().cloned());
    for network in &mut all {
        network.loans.retain(|loan| alive(&loan.holder));
    }
    Ok(all)
}

/// Links whose routes come from router advertisements that they accept.
fn advertised() -> Result<Vec<String>> {
    let routes = netlink::routes()?;
    let learned = routes.iter().filter(|route| route.header.protocol == RouteProtocol::Ra);
    let indices: BTreeSet<u32> = learned.filter_map(device).collect();
    let accepts = |name: &String| {
        let key = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
        fs::read_text(Path::new(&key)).is_ok_and(|text| text.trim() == "1")
    };
    let links = netlink::links()?;
    let of = links.iter().filter(|link| indices.contains(&link.header.index)).map(link_name);
    Ok(of.filter(accepts).collect())
}

fn device(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// Whether links of the host may have IPv6 addresses.
pub fn has_ipv6() -> bool {
    ["all", "default"].iter().all(|of| is_on(&format!("net/ipv6/conf/{of}/disable_ipv6")) == Some(false))
}

/// `None` where the kernel has no such sysctl.
pub(super) fn is_on(key: &str) -> Option<bool> {
    fs::read_text(&Path::new("/proc/sys").join(key)).ok().map(|text| text.trim() != "0")
}

/// Every subnet that the host has a route or an address for: a new network must not shadow a VPN.
pub fn used() -> Result<Vec<Used>> {
    let names: HashMap<u32, String> =
        netlink::links()?.iter().map(|link| (link.header.index, link_name(link))).collect();
    let name = |index: u32| names.get(&index).map_or("?", String::as_str);
    let mut used: Vec<Used> = netlink::addresses()?
        .iter()
        .filter_map(|message| {
            let by = format!("address of {}", name(message.header.index));
            address(message).map(|net| Used { net: net.trunc(), by })
        })
        .collect();
    used.extend(netlink::routes()?.iter().filter_map(|route| {
        let (net, device) = destination(route)?;
        Some(Used { net, by: format!("route via {}", name(device)) })
    }));
    Ok(used)
}

pub(super) fn destination(route: &RouteMessage) -> Option<(IpNet, u32)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let to: Option<IpAddr> = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    });
    Some((IpNet::new(to?, route.header.destination_prefix_length).ok()?, device(route).unwrap_or(0)))
}

pub(super) fn link_name(link: &LinkMessage) -> String {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.unwrap_or_default()
}

/// Chooses the host ports that the command line left open. A port chosen here is free now, and is not `lent`: who has it
/// lent may not have bound it yet. [`super::step::Step::HoldPort`] is what keeps it.
pub fn choose_ports(publish: &[Publish], lent: &dyn Fn(Protocol, u16) -> bool) -> Result<Vec<Publish>> {
    let mut held = Vec::new();
    let mut chosen = Vec::new();
    for request in publish {
        let candidates: Box<dyn Iterator<Item = u16>> = match request.host {
            HostPort::Exact(_) => {
                chosen.push(request.clone());
                continue;
            }
            // any port, and what was tried stays bound: the next is another one
            HostPort::Free => Box::new(std::iter::repeat_n(0, usize::from(u16::MAX))),
            HostPort::FreeIn(first, last) => Box::new(first..=last),
        };
        let mut found = None;
        for candidate in candidates {
            let Ok(socket) = bind(request, candidate) else { continue };
            let port = netns::port(&socket)?;
            held.push(socket); // two requests of one command get two ports
            if !lent(request.protocol, port) {
                found = Some(port);
                break;
            }
        }
        let port = found.ok_or_else(|| {
            let container = format!("{}/{}", request.container, request.protocol);
            Error::user(format!("no free host port for container port {container}"))
                .hint("choose another range, or leave the host port out")
        })?;
        chosen.push(Publish { host: HostPort::Exact(port), ..request.clone() });
    }
    Ok(chosen)
}

fn bind(request: &Publish, port: u16) -> Result<std::os::fd::OwnedFd> {
    let any = match request.ip {
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Some(IpAddr::V4(_)) | None => IpAddr::from([0; 4]),
    };
    let address = SocketAddr::new(request.ip.unwrap_or(any), port);
    match netns::bind(transport(request.protocol), address) {
        // a kernel without such sockets: another protocol's free number is as good as any
        Err(e) if e.errno == Errno::EPROTONOSUPPORT => Ok(netns::bind(Transport::Stream, address)?),
        bound => Ok(bound?),
    }
}

pub(super) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Stream,
        Protocol::Udp => Transport::Datagram,
        Protocol::Sctp => Transport::Association,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(
        family: libc::c_int,
        table: &str,
        name: &str,
        hook: Option<libc::c_int>,
        policy: libc::c_int,
    ) -> BaseChain {
        let (hook, policy) = (hook.map(|hook| hook as u32), hook.map(|_| policy as u32));
        BaseChain { family: family as u8, table: table.into(), name: name.into(), hook, policy }
    }

    #[test]
    fn packets_are_let_through_where_somebody_drops_them() {
        let forward = Some(libc::NF_INET_FORWARD);
        let (v4, inet, drop, accept) = (libc::NFPROTO_IPV4, libc::NFPROTO_INET, libc::NF_DROP, libc::NF_ACCEPT);
        let text =
            |chains: &[BaseChain]| dropping(chains, "minirun").iter().map(ForeignChain::text).collect::<Vec<_>>();
        let docker = [chain(v4, "filter", "FORWARD", forward, drop), chain(v4, "filter", "DOCKER-USER", None, 0)];
        assert_eq!(text(&docker), ["ip filter FORWARD"]);
        assert_eq!(for_others(&docker, &as_foreign(&docker[0])), Some(as_foreign(&docker[1])));
        assert_eq!(for_others(&docker[..1], &as_foreign(&docker[0])), None);
        assert_eq!(owners(&docker), ["docker"]);
        let others = [chain(inet, "firewalld", "filter_FORWARD", forward, accept), chain(v4, "f", "ufw-user", None, 0)];
        assert_eq!(owners(&others), ["firewalld", "ufw"]);
        assert_eq!(text(&[chain(inet, "fw", "fwd", forward, drop)]), ["inet fw fwd"]);
        for other in [
            chain(v4, "filter", "FORWARD", forward, accept),
            chain(v4, "filter", "INPUT", Some(libc::NF_INET_LOCAL_IN), drop),
            chain(libc::NFPROTO_BRIDGE, "filter", "FORWARD", forward, drop),
            chain(inet, "minirun", "forward", forward, drop),
        ] {
            assert!(text(&[other]).is_empty());
        }
    }
}
