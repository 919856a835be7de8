//! From a request, what was lent and what is there, to steps. Pure: it never reads the system.

use super::names::{self, Mac, Realm};
use super::network::{Attachment, Lease, Loan, Network};
use super::publish::{HostPort, Protocol, Publish, Published};
use super::ruleset::Entry;
use super::step::{ForeignChain, Netns, Step, Veth, udp_ports};
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, IfName, Name};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRequest {
    pub mode: Mode,
    /// Every host port resolved: [`HostPort::Exact`].
    pub publish: Vec<Publish>,
    /// Of the new namespace: path below /proc/sys and value, see [`DEFAULT_SYSCTLS`]. All `net.*` sysctls of a
    /// container belong here, for only this side knows when its links exist.
    pub sysctls: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// eth0, eth1, … in this order; ports are published through the first. Never empty.
    Networks(Vec<Attachment>),
    /// A namespace with lo alone.
    None,
    /// The host's own namespace.
    Host,
    /// Another container's namespace.
    Container(ContainerId),
    /// A namespace by its file.
    Path(HostPath),
}

/// What docker sets in every new namespace: ping and low ports without privilege.
pub const DEFAULT_SYSCTLS: [(&str, &str); 2] =
    [("net/ipv4/ping_group_range", "0 2147483647"), ("net/ipv4/ip_unprivileged_port_start", "0")];

/// The name of the network that `run` uses by default.
pub const DEFAULT_NETWORK: &str = "bridge";

impl NetRequest {
    /// The default: the bridge network, with these ports.
    pub fn bridge(publish: Vec<Publish>) -> Result<NetRequest> {
        let mode = Mode::Networks(vec![Attachment::any(Name::parse(DEFAULT_NETWORK)?)]);
        let sysctls = DEFAULT_SYSCTLS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Ok(NetRequest { mode, publish, sysctls })
    }
}

/// The system as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetFacts {
    pub realm: Realm,
    /// net.ipv4.ip_forward is not 0.
    pub ip_forward: bool,
    /// net.ipv6.conf.all.forwarding; `None` in a kernel without IPv6.
    pub ipv6_forwarding: Option<bool>,
    /// Our table is there.
    pub table: bool,
    /// The networks of the request, in its order.
    pub networks: Vec<NetworkFacts>,
    /// All networks with the loans of the living, where the table has to be rebuilt; else empty.
    pub rebuild: Vec<Network>,
    /// Base chains of others that drop forwarded packets.
    pub foreign: Vec<ForeignFacts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    pub network: Network,
    pub bridge: Option<BridgeFacts>,
    /// The table's sets know the bridge.
    pub entries: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeFacts {
    pub up: bool,
    pub alias: Option<String>,
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignFacts {
    /// Where our rules go: DOCKER-USER where docker made it, else the chain itself.
    pub chain: ForeignChain,
    /// The comments of the rules in it.
    pub comments: Vec<String>,
}

/// Steps of the monitor before and after clone, and what the user should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetPlan {
    pub prepare: Vec<Step>,
    pub host: Vec<Step>,
    pub warnings: Vec<String>,
}

/// The steps for one container. `leases` are those of the request's networks, in its order; `tag` names the links
/// (id and generation, at most 11 bytes).
pub fn plan(
    request: &NetRequest,
    leases: &[Lease],
    facts: &NetFacts,
    container: &ContainerId,
    tag: &str,
) -> Result<NetPlan> {
    let mut plan = NetPlan::default();
    let separate = match &request.mode {
        Mode::Networks(_) => {
            shared(facts, container, &mut plan);
            true
        }
        Mode::None => true,
        Mode::Host | Mode::Container(_) | Mode::Path(_) => false,
    };
    if separate {
        plan.host.extend(links(request, leases, facts, container, tag)?);
        plan.host.extend(inside(request, leases, facts)?);
    }
    match &request.mode {
        Mode::Networks(_) => plan.host.extend(ports(request, leases, &facts.realm, container)?),
        Mode::None | Mode::Host | Mode::Container(_) | Mode::Path(_) if request.publish.is_empty() => {}
        Mode::None | Mode::Host | Mode::Container(_) | Mode::Path(_) => {
            plan.warnings.push("published ports are discarded: the container has no network of its own".into());
        }
    }
    Ok(plan)
}

/// What all containers share, as far as it is missing. The rules stand before the first packet can pass.
fn shared(facts: &NetFacts, container: &ContainerId, plan: &mut NetPlan) {
    let table = facts.realm.table();
    let steps = &mut plan.prepare;
    if !facts.table {
        steps.push(Step::EnsureRuleset { table: table.clone() });
        let entries: Vec<Entry> =
            facts.rebuild.iter().flat_map(|n| [entries(n), lent_ports(n, container)].concat()).collect();
        if !entries.is_empty() {
            steps.push(Step::EnsureEntries { table: table.clone(), entries });
        }
    }
    for of in &facts.networks {
        let rebuilt = facts.rebuild.iter().any(|network| network.name == of.network.name);
        if !of.entries && !rebuilt {
            steps.push(Step::EnsureEntries { table: table.clone(), entries: entries(&of.network) });
        }
        bridge(of, facts.ipv6_forwarding.is_some(), steps);
        for chain in &facts.foreign {
            if !chain.comments.contains(&of.network.mark) {
                plan.warnings.push(format!(
                    "chain {} drops forwarded packets: added rules for {}",
                    chain.chain.text(),
                    of.network.bridge
                ));
                let (chain, comment) = (chain.chain.clone(), of.network.mark.clone());
                steps.push(Step::AllowForward { chain, bridge: of.network.bridge.clone(), comment });
            }
        }
    }
    forwarding(facts, plan);
}

fn forwarding(facts: &NetFacts, plan: &mut NetPlan) {
    let set = |key: &str| Step::SetSysctl { netns: Netns::Host, key: key.into(), value: "1".into() };
    if !facts.ip_forward {
        plan.prepare.push(set("net/ipv4/ip_forward"));
        plan.warnings.push("net.ipv4.ip_forward was 0 and is set to 1".into());
    }
    if facts.ipv6_forwarding == Some(false) && facts.networks.iter().any(|of| of.network.has_ipv6()) {
        plan.prepare.push(set("net/ipv6/conf/all/forwarding"));
        plan.warnings.push("net.ipv6.conf.all.forwarding was 0 and is set to 1".into());
    }
}

/// The bridge, up last: by then it has its sysctls.
fn bridge(of: &NetworkFacts, ipv6: bool, steps: &mut Vec<Step>) {
    let network = &of.network;
    let name = &network.bridge;
    if of.bridge.is_none() {
        let (name, mac, group, mtu) = (name.clone(), network.mac, network.group, network.mtu);
        steps.push(Step::EnsureBridge { name, mac, group, mtu });
    }
    if of.bridge.as_ref().is_none_or(|bridge| bridge.alias.as_ref() != Some(&network.mark)) {
        steps.push(Step::SetAlias { link: name.clone(), alias: network.mark.clone() });
    }
    let sysctl = |key: String, value: &str| Step::SetSysctl { netns: Netns::Host, key, value: value.into() };
    if of.bridge.as_ref().is_none_or(|bridge| !bridge.up) {
        steps.push(sysctl(format!("net/ipv4/conf/{name}/route_localnet"), "1"));
        match (ipv6, network.has_ipv6()) {
            (false, _) => {}
            (true, false) => steps.push(sysctl(format!("net/ipv6/conf/{name}/disable_ipv6"), "1")),
            // a container's router advertisement must not become the host's route (CVE-2020-13401)
            (true, true) => steps.push(sysctl(format!("net/ipv6/conf/{name}/accept_ra"), "0")),
        }
    }
    for address in network.gateways() {
        if of.bridge.as_ref().is_none_or(|bridge| !bridge.addresses.contains(&address)) {
            steps.push(Step::AddAddress { netns: Netns::Host, link: name.clone(), address });
        }
    }
    if of.bridge.as_ref().is_none_or(|bridge| !bridge.up) {
        steps.push(Step::LinkUp { netns: Netns::Host, link: name.clone() });
    }
}

/// What the sets hold of a network.
pub fn entries(network: &Network) -> Vec<Entry> {
    let bridge = &network.bridge;
    let mut entries = vec![Entry::Bridge(bridge.clone()), Entry::Pass(bridge.clone(), bridge.clone())];
    if network.masquerade {
        entries.push(Entry::Masquerade(bridge.clone()));
    }
    entries.extend(network.subnets.iter().map(|subnet| Entry::Subnet(subnet.net)));
    entries
}

/// Ports of the other containers; this one's are published by a step with an undo.
fn lent_ports(network: &Network, except: &ContainerId) -> Vec<Entry> {
    let of_loan = |loan: &Loan| {
        let owner = names::owner(&loan.holder.container);
        loan.published.iter().map(|port| Entry::Port(port.clone(), owner.clone())).collect::<Vec<_>>()
    };
    network.loans.iter().filter(|loan| loan.holder.container != *except).flat_map(of_loan).collect()
}

fn links(
    request: &NetRequest,
    leases: &[Lease],
    facts: &NetFacts,
    container: &ContainerId,
    tag: &str,
) -> Result<Vec<Step>> {
    let mark = facts.realm.container_mark(container);
    let mut steps = Vec::new();
    for (index, lease) in leases.iter().enumerate() {
        let host = names::veth(tag, index)?;
        steps.push(Step::AddVeth(Veth {
            host: host.clone(),
            mac: Mac::of_link(&host),
            bridge: lease.bridge.clone(),
            group: lease.group,
            mtu: lease.mtu,
            peer: eth(index)?,
            peer_mac: lease.mac,
            mark: mark.clone(),
        }));
        steps.push(Step::SetAlias { link: host.clone(), alias: mark.clone() });
        if index == 0 && !request.publish.is_empty() {
            steps.push(Step::SetHairpin { link: host });
        }
    }
    Ok(steps)
}

/// eth0, eth1, … as the container names its links.
pub fn eth(index: usize) -> Result<IfName> {
    IfName::parse(&format!("eth{index}"))
}

/// The container's side. Its first network of a family gives the default route.
fn inside(request: &NetRequest, leases: &[Lease], facts: &NetFacts) -> Result<Vec<Step>> {
    let netns = Netns::Init;
    let mut steps = Vec::new();
    for (index, lease) in leases.iter().enumerate() {
        if facts.ipv6_forwarding.is_some() && !lease.addresses.iter().any(|a| a.addr().is_ipv6()) {
            let key = format!("net/ipv6/conf/{}/disable_ipv6", eth(index)?);
            steps.push(Step::SetSysctl { netns, key, value: "1".into() });
        }
    }
    let sysctl = |(key, value): &(String, String)| Step::SetSysctl { netns, key: key.clone(), value: value.clone() };
    steps.extend(request.sysctls.iter().map(sysctl));
    steps.push(Step::LinkUp { netns, link: IfName::parse("lo")? });
    let mut routed: Vec<bool> = Vec::new();
    for (index, lease) in leases.iter().enumerate() {
        let link = eth(index)?;
        let address = |address: &IpNet| Step::AddAddress { netns, link: link.clone(), address: *address };
        steps.extend(lease.addresses.iter().map(address));
        steps.push(Step::LinkUp { netns, link: link.clone() });
        for via in &lease.gateways {
            if !routed.contains(&via.is_ipv4()) {
                routed.push(via.is_ipv4());
                steps.push(Step::AddDefaultRoute { netns, via: *via, link: link.clone() });
            }
        }
    }
    Ok(steps)
}

fn ports(request: &NetRequest, leases: &[Lease], realm: &Realm, container: &ContainerId) -> Result<Vec<Step>> {
    let ports = published(request, leases)?;
    let table = realm.table();
    let mut steps: Vec<Step> =
        ports.iter().map(|port| Step::HoldPort { table: table.clone(), port: port.clone() }).collect();
    if !ports.is_empty() {
        let udp = udp_ports(&ports);
        steps.push(Step::Publish { table, owner: names::owner(container), ports });
        if !udp.is_empty() {
            steps.push(Step::ForgetFlows { protocol: Protocol::Udp, ports: udp });
        }
    }
    Ok(steps)
}

/// Where each published port leads. Pure, so that the loan's record and the steps say the same.
pub fn published(request: &NetRequest, leases: &[Lease]) -> Result<Vec<Published>> {
    let Some(lease) = leases.first() else { return Ok(Vec::new()) };
    let mut ports: Vec<Published> = Vec::new();
    for publish in &request.publish {
        for port in resolve(publish, lease)? {
            if let Some(twice) = ports.iter().find(|other| other.clashes(&port)) {
                return Err(Error::user(format!("port {port} is published twice: {twice} leads to {}", twice.to))
                    .hint("choose another host port for one of them"));
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

/// One port for each family of the lease that the request's address allows.
fn resolve(publish: &Publish, lease: &Lease) -> Result<Vec<Published>> {
    let HostPort::Exact(port) = publish.host else {
        return Err(Error::internal(format!("no host port was chosen for container port {}", publish.container)));
    };
    let fits = |target: &IpAddr| publish.ip.is_none_or(|ip| ip.is_ipv4() == target.is_ipv4());
    let targets: Vec<IpAddr> = lease.addresses.iter().map(IpNet::addr).filter(fits).collect();
    if targets.is_empty() {
        let family = if publish.ip.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
        return Err(Error::user(format!(
            "cannot publish port {} at {}: network {} has no {family} addresses",
            port,
            publish.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            lease.network
        ))
        .hint("leave the address out, or use a network with that family"));
    }
    let ip = publish.ip.filter(|ip| !ip.is_unspecified());
    let to = |target: IpAddr| SocketAddr::new(target, publish.container);
    Ok(targets.into_iter().map(|target| Published { ip, port, protocol: publish.protocol, to: to(target) }).collect())
}
