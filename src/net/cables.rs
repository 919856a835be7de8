//! A container's links: what makes each of them, on the host and inside, when it starts and while it runs. Pure.

use super::names::{self, Mac, Realm};
use super::network::Lease;
use super::plan::{self, NetFacts, NetPlan, NetRequest, has_names, publishing};
use super::publish::{Protocol, Published};
use super::shape::{Route, Segment, Shape};
use super::step::{Member, Netns, Step, Sublink, SublinkKind, Veth, udp_ports};
use crate::error::Result;
use crate::id::{ContainerId, IfName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What plugs them in. Nothing is inside yet but the links, down.
pub(super) fn links(
    request: &NetRequest,
    leases: &[Lease],
    facts: &NetFacts,
    container: &ContainerId,
    tag: &str,
) -> Result<Vec<Step>> {
    let mark = facts.realm.container_mark(container);
    let mut steps = Vec::new();
    for (index, lease) in leases.iter().enumerate() {
        if let Some(kind) = sublink(lease) {
            let (parent, kind) = kind;
            let name = names::veth(tag, lease.generation, lease.link)?;
            steps.push(Step::AddSublink(Sublink { parent, kind, name: name.clone(), mtu: lease.shape.mtu }));
            steps.push(Step::RenameLink { from: name, to: eth(lease.link)? });
            continue;
        }
        let host = names::veth(tag, lease.generation, lease.link)?;
        steps.push(Step::AddVeth(Veth {
            host: host.clone(),
            mac: Mac::of_link(&host),
            bridge: lease.bridge.clone(),
            group: lease.group,
            mtu: lease.shape.mtu,
            peer: eth(lease.link)?,
            peer_mac: lease.mac,
            mark: mark.clone(),
        }));
        steps.push(Step::SetAlias { link: host.clone(), alias: mark.clone() });
        steps.extend(membership(&lease.shape, &host));
        if lease.shape.isolated {
            steps.push(Step::SetIsolated { link: host.clone() });
        }
        if Some(index) == publishing(leases) && !request.publish.is_empty() {
            steps.push(Step::SetHairpin { link: host });
        }
        steps.extend(host_routes(lease));
    }
    Ok(steps)
}

/// The link on one of the host's that it is instead of a port of a bridge.
fn sublink(lease: &Lease) -> Option<(IfName, SublinkKind)> {
    match &lease.shape.segment {
        Segment::Bridge | Segment::Shared(_) | Segment::Foreign(_) => None,
        Segment::Macvlan { parent, mode } => Some((parent.clone(), SublinkKind::Macvlan(*mode, lease.mac))),
        Segment::Ipvlan { parent, mode } => Some((parent.clone(), SublinkKind::Ipvlan(*mode))),
    }
}

/// Where a subnet lies on several bridges, the host has a route to each container.
pub(super) fn host_routes(lease: &Lease) -> Vec<Step> {
    let one = |address: &IpNet| IpNet::new(address.addr(), address.max_prefix_len()).ok();
    let (netns, via) = (Netns::Host, None);
    let route = |to| Step::AddRoute { netns, to, via, link: lease.bridge.clone() };
    lease.addresses.iter().filter(|_| lease.shape.proxy_arp).filter_map(one).map(route).collect()
}

/// Of which VLANs a new port is a member.
pub(super) fn membership(shape: &Shape, link: &IfName) -> Vec<Step> {
    if !shape.has_vlans() {
        return Vec::new();
    }
    let join = |vlan: u16, member| Step::JoinVlan { link: link.clone(), vlan, member };
    let mut steps = vec![Step::LeaveVlan { link: link.clone(), vlan: 1 }];
    steps.extend(shape.vlan.map(|vlan| join(vlan, Member::Untagged)));
    steps.extend(shape.trunk.iter().map(|vlan| join(*vlan, Member::Tagged)));
    steps
}

/// eth0, eth1, … as the container names its links.
pub fn eth(index: usize) -> Result<IfName> {
    IfName::parse(&format!("eth{index}"))
}

/// The container's side. Its first network of a family gives the default route.
pub(super) fn inside(request: &NetRequest, leases: &[Lease], facts: &NetFacts) -> Result<Vec<Step>> {
    let netns = Netns::Init;
    let mut steps = without_ipv6(leases, facts)?;
    steps.extend(without_redirects(leases)?);
    let sysctl = |(key, value): &(String, String)| Step::SetSysctl { netns, key: key.clone(), value: value.clone() };
    steps.extend(request.sysctls.iter().map(sysctl));
    // addresses first: they need the links' numbers, and all that follows leaves as one message
    steps.extend(addresses(leases)?);
    steps.push(Step::LinkUp { netns, link: IfName::parse("lo")? });
    steps.extend(up(leases, &[])?);
    if request.forwards || has_names(leases.iter().map(|lease| &lease.network)) {
        steps.push(Step::AnswerNames);
    }
    Ok(steps)
}

/// A router that sends back where a packet came from tells its sender of the shorter way (ICMP redirect, RFC 792), and
/// from then on it is none: the kernel takes such advice where either of these is on (ip-sysctl.rst).
fn without_redirects(leases: &[Lease]) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for lease in leases.iter().filter(|lease| lease.behind_host) {
        for of in ["all", eth(lease.link)?.as_str()] {
            let key = format!("net/ipv4/conf/{of}/accept_redirects");
            steps.push(Step::SetSysctl { netns: Netns::Init, key, value: "0".into() });
        }
    }
    Ok(steps)
}

fn without_ipv6(leases: &[Lease], facts: &NetFacts) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for lease in leases {
        if facts.ipv6_forwarding.is_some() && !lease.addresses.iter().any(|a| a.addr().is_ipv6()) {
            let key = format!("net/ipv6/conf/{}/disable_ipv6", eth(lease.link)?);
            steps.push(Step::SetSysctl { netns: Netns::Init, key, value: "1".into() });
        }
    }
    Ok(steps)
}

fn addresses(leases: &[Lease]) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for lease in leases {
        let link = eth(lease.link)?;
        let add = |address: &IpNet| Step::AddAddress { netns: Netns::Init, link: link.clone(), address: *address };
        steps.extend(lease.addresses.iter().map(add));
    }
    Ok(steps)
}

/// The links up, and the first gateway of each family that has none yet.
fn up(leases: &[Lease], routed: &[IpAddr]) -> Result<Vec<Step>> {
    let netns = Netns::Init;
    let mut steps = Vec::new();
    let mut routed: Vec<bool> = routed.iter().map(IpAddr::is_ipv4).collect();
    for lease in leases {
        let link = eth(lease.link)?;
        steps.push(Step::LinkUp { netns, link: link.clone() });
        let of_family =
            |route: &&Route| lease.addresses.iter().any(|a| a.addr().is_ipv4() == route.to.addr().is_ipv4());
        let asked = |route: &Route| Step::AddRoute { netns, to: route.to, via: route.via, link: link.clone() };
        let own = |route: &&Route| !lease.addresses.iter().any(|address| address.trunc() == route.to);
        steps.extend(lease.shape.routes.iter().filter(of_family).filter(own).map(asked));
        for via in &lease.gateways {
            if !routed.contains(&via.is_ipv4()) {
                routed.push(via.is_ipv4());
                steps.push(Step::AddDefaultRoute { netns, via: *via, link: link.clone() });
            }
        }
    }
    Ok(steps)
}

/// One more network for a container that runs; `before` is what it has already, and `ports` what leads to it from now on.
pub fn connect(
    (lease, ports): (&Lease, &[Published]),
    before: &[Lease],
    facts: &NetFacts,
    container: &ContainerId,
    tag: &str,
) -> Result<NetPlan> {
    let mut plan = NetPlan::default();
    plan::shared(facts, container, &mut plan)?;
    let (one, nothing) = (std::slice::from_ref(lease), NetRequest::of_nobody());
    plan.host.extend(links(&nothing, one, facts, container, tag)?);
    plan.host.extend(without_ipv6(one, facts)?);
    plan.host.extend(without_redirects(one)?);
    plan.host.extend(addresses(one)?);
    let routed: Vec<IpAddr> = before.iter().flat_map(|lease| &lease.gateways).copied().collect();
    plan.host.extend(up(one, &routed)?);
    // that of the others, should it have been lost; where it is there already, it stays
    plan.host.extend(up(before, &[])?.into_iter().filter(is_default_route));
    plan.host.extend(lead(ports, lease, &facts.realm, container, tag)?);
    Ok(plan)
}

/// What a container that runs needs when it has lost a network, and `left` are what it still has: another default
/// route, and its ports, which led there, lead to the next one. `ports` are those.
pub fn disconnect(
    left: &[Lease],
    ports: &[Published],
    realm: &Realm,
    container: &ContainerId,
    tag: &str,
) -> Result<Vec<Step>> {
    let mut steps = up(left, &[])?;
    steps.retain(is_default_route); // where it is there already, it stays
    if let Some(index) = publishing(left) {
        steps.extend(lead(ports, &left[index], realm, container, tag)?);
    }
    Ok(steps)
}

/// Ports that its monitor holds lead to this network from now on.
fn lead(ports: &[Published], to: &Lease, realm: &Realm, container: &ContainerId, tag: &str) -> Result<Vec<Step>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let (table, owner) = (realm.table(), names::owner(container));
    let hairpin = Step::SetHairpin { link: names::veth(tag, to.generation, to.link)? };
    let mut steps = vec![hairpin, Step::Publish { table, owner, ports: ports.to_vec() }];
    let udp = udp_ports(ports);
    if !udp.is_empty() {
        steps.push(Step::ForgetFlows { protocol: Protocol::Udp, ports: udp });
    }
    Ok(steps)
}

fn is_default_route(step: &Step) -> bool {
    matches!(step, Step::AddDefaultRoute { .. })
}

/// The same ports at another network's addresses; those of a family that it has not are left out.
pub fn moved(ports: &[Published], to: &Lease) -> Vec<Published> {
    let move_one = |port: &Published| {
        // what is open at all addresses is so no longer where the other network says at which one
        let ip = port.ip.or(to.shape.publish_at.map(IpAddr::V4));
        let fits = |address: &IpAddr| {
            address.is_ipv4() == port.to.is_ipv4() && ip.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4())
        };
        let address = to.addresses.iter().map(IpNet::addr).find(fits)?;
        Some(Published { ip, to: SocketAddr::new(address, port.to.port()), ..port.clone() })
    };
    ports.iter().filter_map(move_one).collect()
}
