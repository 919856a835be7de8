//! From a request, what was lent and what is there, to steps. Pure: it never reads the system.

use super::entry::Entry;
use super::names::{self, Realm};
use super::network::{Attachment, Lease, Loan, Network};
use super::others::{self, Firewalld, Legacy};
use super::publish::{HostPort, Protocol, Publish, Published};
use super::segment::entries;
use super::shape::Segment;
use super::step::{ForeignChain, Netns, Step, udp_ports};
use super::{cables, segment};
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, IfName, Name};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRequest {
    pub mode: Mode,
    /// Every host port resolved: [`HostPort::Exact`].
    pub publish: Vec<Publish>,
    /// Of the new namespace: path below /proc/sys and value, see [`DEFAULT_SYSCTLS`]. All `net.*` sysctls of a
    /// container belong here, for only this side knows when its links exist.
    pub sysctls: Vec<(String, String)>,
    /// Its monitor asks the host's servers for it, for it reaches none of them.
    pub forwards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// eth0, eth1, … in this order; ports are published through the first that leads out. Never empty.
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
        Ok(NetRequest { mode, publish, sysctls, forwards: false })
    }

    pub(super) fn of_nobody() -> NetRequest {
        NetRequest { mode: Mode::None, publish: Vec::new(), sysctls: Vec::new(), forwards: false }
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
    /// Links that have routes from router advertisements, which a host that forwards does not listen to any more, unless
    /// accept_ra is 2 (Documentation/networking/ip-sysctl.rst).
    #[serde(default)]
    pub advertised: Vec<String>,
    /// Our table is there.
    pub table: bool,
    /// The networks of the request, in its order.
    pub networks: Vec<NetworkFacts>,
    /// All networks with the loans of the living, where the table has to be rebuilt; else empty.
    pub rebuild: Vec<Network>,
    /// Base chains of others that drop forwarded packets.
    pub foreign: Vec<ForeignFacts>,
    #[serde(default)]
    pub firewalld: Option<Firewalld>,
    #[serde(default)]
    pub legacy: Vec<Legacy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    pub network: Network,
    pub bridge: Option<BridgeFacts>,
    /// The link that has the gateways' addresses: the bridge, or the host's way into its VLAN.
    pub router: Option<BridgeFacts>,
    /// The table's sets know that link.
    pub entries: bool,
    /// Cables of the living that are not as they should be: the bridge was deleted, and with it went what they were
    /// plugged into.
    #[serde(default)]
    pub loose: Vec<Cable>,
}

/// The host's end of a container's veth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    pub link: IfName,
    pub container: ContainerId,
    /// It publishes ports through this network, and may call them itself.
    pub hairpin: bool,
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
/// (10 bytes).
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
            shared(facts, container, &mut plan)?;
            true
        }
        Mode::None => true,
        Mode::Host | Mode::Container(_) | Mode::Path(_) => false,
    };
    if separate {
        plan.host.extend(cables::links(request, leases, facts, container, tag)?);
        plan.host.extend(cables::inside(request, leases, facts)?);
    }
    match &request.mode {
        Mode::Networks(_) => {
            let ports = published(request, leases)?;
            plan.warnings.extend(others::closed(&ports, facts));
            plan.host.extend(publish(ports, &facts.realm, container));
        }
        Mode::None | Mode::Host | Mode::Container(_) | Mode::Path(_) if request.publish.is_empty() => {}
        Mode::None | Mode::Host | Mode::Container(_) | Mode::Path(_) => {
            plan.warnings.push("published ports are discarded: the container has no network of its own".into());
        }
    }
    Ok(plan)
}

/// What all containers share, as far as it is missing. The rules stand before the first packet can pass.
pub(super) fn shared(facts: &NetFacts, container: &ContainerId, plan: &mut NetPlan) -> Result<()> {
    facts.networks.iter().try_for_each(segment::check)?;
    let table = facts.realm.table();
    let steps = &mut plan.prepare;
    if !facts.table && facts.networks.iter().any(|of| of.network.shape.is_routed()) {
        steps.push(Step::EnsureRuleset { table: table.clone() });
        let routed = facts.rebuild.iter().filter(|network| network.shape.is_routed());
        let entries: Vec<Entry> =
            routed.flat_map(|network| [entries(network), lent_ports(network, Some(container))].concat()).collect();
        if !entries.is_empty() {
            steps.push(Step::EnsureEntries { table: table.clone(), entries });
        }
        steps.extend(forget_flows(&facts.rebuild, Some(container)));
    }
    let mut bridged: Vec<_> = facts.networks.iter().filter(|of| of.network.shape.is_routed()).collect();
    // whoever is on another one's bridge comes after it
    bridged.sort_by_key(|of| of.network.shape.segment != Segment::Bridge);
    for of in bridged {
        let rebuilt = facts.rebuild.iter().any(|network| network.name == of.network.name);
        // whether the link is known says nothing of a subnet that came to it later
        let known = of.entries && of.network.shape.segment == Segment::Bridge;
        if !known && !rebuilt {
            let entries = entries(&of.network);
            plan.prepare.push(Step::EnsureEntries { table: table.clone(), entries });
        }
        plan.prepare.extend(segment::steps(of, facts.ipv6_forwarding.is_some()));
        others::let_through(&of.network, facts, plan);
    }
    forwarding(facts, plan);
    Ok(())
}

pub(super) fn forwarding(facts: &NetFacts, plan: &mut NetPlan) {
    let set = |key: &str| Step::SetSysctl { netns: Netns::Host, key: key.into(), value: "1".into() };
    let forwarded = || facts.networks.iter().map(|of| &of.network).filter(|network| network.is_forwarded());
    if !facts.ip_forward && forwarded().next().is_some() {
        plan.prepare.push(set("net/ipv4/ip_forward"));
        plan.warnings.push("net.ipv4.ip_forward was 0 and is set to 1".into());
    }
    if facts.ipv6_forwarding == Some(false) && forwarded().any(Network::has_ipv6_gateway) {
        for link in &facts.advertised {
            let key = format!("net/ipv6/conf/{link}/accept_ra");
            plan.prepare.push(Step::SetSysctl { netns: Netns::Host, key, value: "2".into() });
            plan.warnings.push(format!("net.ipv6.conf.{link}.accept_ra was 1 and is set to 2: it keeps its routes"));
        }
        plan.prepare.push(set("net/ipv6/conf/all/forwarding"));
        plan.warnings.push("net.ipv6.conf.all.forwarding was 0 and is set to 1".into());
    }
}

/// A flow that began while no rule was there goes nowhere as long as its packets come.
pub(super) fn forget_flows(networks: &[Network], except: Option<&ContainerId>) -> Option<Step> {
    let loans = networks.iter().flat_map(|network| &network.loans);
    let others = loans.filter(|loan| Some(&loan.holder.container) != except);
    let ports: Vec<Published> = others.flat_map(|loan| loan.published.clone()).collect();
    let ports = udp_ports(&ports);
    (!ports.is_empty()).then_some(Step::ForgetFlows { protocol: Protocol::Udp, ports })
}

/// Ports of its containers but one, whose ports are published by a step with an undo.
pub(super) fn lent_ports(network: &Network, except: Option<&ContainerId>) -> Vec<Entry> {
    let of_loan = |loan: &Loan| {
        let owner = names::owner(&loan.holder.container);
        loan.published.iter().map(|port| Entry::Port(port.clone(), owner.clone())).collect::<Vec<_>>()
    };
    network.loans.iter().filter(|loan| Some(&loan.holder.container) != except).flat_map(of_loan).collect()
}

/// Whether the others are known by name in one of these networks. In the default network they are not, as with docker.
pub fn has_names<'a>(networks: impl IntoIterator<Item = &'a Name>) -> bool {
    networks.into_iter().any(|network| network.as_str() != DEFAULT_NETWORK)
}

fn publish(ports: Vec<Published>, realm: &Realm, container: &ContainerId) -> Vec<Step> {
    let table = realm.table();
    let mut steps: Vec<Step> =
        ports.iter().map(|port| Step::HoldPort { table: table.clone(), port: port.clone() }).collect();
    if !ports.is_empty() {
        let udp = udp_ports(&ports);
        steps.push(Step::Publish { table, owner: names::owner(container), ports });
        steps.extend((!udp.is_empty()).then_some(Step::ForgetFlows { protocol: Protocol::Udp, ports: udp }));
    }
    steps
}

/// The lease through which ports are published: the first whose network leads out.
pub fn publishing(leases: &[Lease]) -> Option<usize> {
    leases.iter().position(leads_out)
}

/// Whether its network leads out by the host, which its gateway is then.
fn leads_out(lease: &Lease) -> bool {
    lease.shape.is_routed() && !lease.gateways.is_empty()
}

/// The host, as a container with these leases reaches it: what docker calls `host-gateway`.
pub fn host_gateway<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Option<IpAddr> {
    let way_out = leases.into_iter().filter(|lease| leads_out(lease)).min_by_key(|lease| lease.link);
    way_out?.gateways.first().copied()
}

/// Where each published port leads. Pure, so that the loan's record and the steps say the same.
pub fn published(request: &NetRequest, leases: &[Lease]) -> Result<Vec<Published>> {
    let lease = match (publishing(leases), leases.first()) {
        (Some(index), _) => &leases[index],
        (None, Some(inner)) if !request.publish.is_empty() => {
            let why = match inner.shape.is_routed() {
                true => "leads nowhere",
                false => "is not routed by this host, its containers are reached at their own addresses",
            };
            return Err(Error::user(format!("network {} {why}: no port can be published there", inner.network))
                .hint("leave out -p, or name a network besides that is not internal and has a gateway"));
        }
        (None, _) => return Ok(Vec::new()),
    };
    let mut ports: Vec<Published> = Vec::new();
    let mut numbers: HashMap<(Protocol, u16), Vec<usize>> = HashMap::new(); // of thousands, few have the same one
    for publish in &request.publish {
        for port in resolve(publish, lease)? {
            let same = numbers.entry((port.protocol, port.port)).or_default();
            if let Some(twice) = same.iter().map(|index| &ports[*index]).find(|other| other.clashes(&port)) {
                return Err(Error::user(format!("port {port} is published twice: {twice} leads to {}", twice.to))
                    .hint("choose another host port for one of them"));
            }
            same.push(ports.len());
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
    let asked = publish.ip.or(lease.shape.publish_at.map(IpAddr::V4));
    let fits = |target: &IpAddr| asked.is_none_or(|ip| ip.is_ipv4() == target.is_ipv4());
    let targets: Vec<IpAddr> = lease.addresses.iter().map(IpNet::addr).filter(fits).collect();
    if targets.is_empty() {
        let family = if asked.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
        return Err(Error::user(format!(
            "cannot publish port {} at {}: network {} has no {family} addresses",
            port,
            asked.map(|ip| ip.to_string()).unwrap_or_default(),
            lease.network
        ))
        .hint("leave the address out, or use a network with that family"));
    }
    if asked == Some(Ipv6Addr::LOCALHOST.into()) {
        // the kernel has no route_localnet for it: what is sent from ::1 to another address is dropped
        return Err(Error::user(format!(
            "cannot publish port {port} at ::1: IPv6 leads nothing from there to a container"
        ))
        .hint(format!("-p 127.0.0.1:{port}:{} works", publish.container)));
    }
    let ip = asked.filter(|ip| !ip.is_unspecified());
    let to = |target: IpAddr| SocketAddr::new(target, publish.container);
    Ok(targets.into_iter().map(|target| Published { ip, port, protocol: publish.protocol, to: to(target) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::names::Mac;
    use crate::net::network::{Holder, Subnet};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn network(nets: &[&str]) -> Network {
        let subnets = nets.iter().map(|net| Subnet::with_gateway(net.parse().unwrap())).collect();
        Network { group: 7, ..Network::new(&realm(), &name("bridge"), subnets).unwrap() }
    }

    fn realm() -> Realm {
        Realm { state: HostPath::parse("/run/minirun").unwrap() }
    }

    fn id() -> ContainerId {
        ContainerId::parse("web").unwrap()
    }

    /// A host that has nothing of ours yet.
    fn first_run(network: &Network) -> NetFacts {
        NetFacts {
            realm: realm(),
            ip_forward: false,
            ipv6_forwarding: Some(false),
            advertised: Vec::new(),
            table: false,
            networks: vec![NetworkFacts {
                network: network.clone(),
                bridge: None,
                router: None,
                entries: false,
                loose: Vec::new(),
            }],
            rebuild: vec![network.clone()],
            foreign: Vec::new(),
            firewalld: None,
            legacy: Vec::new(),
        }
    }

    /// A host on which a container of this network runs.
    fn second_run(network: &Network) -> NetFacts {
        let alias = Some(network.mark.clone());
        let bridge = BridgeFacts { up: true, alias, addresses: network.gateways() };
        NetFacts {
            ip_forward: true,
            ipv6_forwarding: Some(true),
            table: true,
            networks: vec![NetworkFacts {
                network: network.clone(),
                bridge: Some(bridge.clone()),
                router: Some(bridge),
                entries: true,
                loose: Vec::new(),
            }],
            rebuild: Vec::new(),
            ..first_run(network)
        }
    }

    fn lines(request: &NetRequest, network: &Network, facts: &NetFacts) -> Result<(Vec<String>, Vec<String>)> {
        let holder = Holder { container: id(), pid: 1, start_time: 1, boot_id: "x".into() };
        let mut network = network.clone();
        let want = Attachment::any(name("bridge"));
        let leases = match request.mode {
            Mode::Networks(_) => vec![network.lend(&want, &holder, &|_| true).unwrap()],
            _ => Vec::new(),
        };
        let plan = plan(request, &leases, facts, &id(), "0123456789")?;
        let text = |steps: &[Step]| steps.iter().map(|step| step.shell().to_string()).collect();
        Ok((text(&plan.prepare), text(&plan.host)))
    }

    fn publish(words: &[&str]) -> NetRequest {
        let publish = words.iter().flat_map(|word| Publish::parse(word).unwrap()).collect();
        NetRequest { sysctls: Vec::new(), ..NetRequest::bridge(publish).unwrap() }
    }

    #[test]
    fn the_first_container_makes_what_is_shared() {
        let net = network(&["172.18.0.0/16"]);
        let (prepare, _) = lines(&publish(&[]), &net, &first_run(&net)).unwrap();
        assert!(prepare[0].starts_with("nft 'table inet minirun {\n  map pub4 {"), "{}", prepare[0]);
        let bridge = &net.bridge;
        assert_eq!(
            prepare[1..],
            [
                format!(
                    "nft 'add element inet minirun bridges {{ \"{bridge}\" }}; \
                     add element inet minirun verdicts {{ \"{bridge}\" . \"{bridge}\" : accept }}; \
                     add element inet minirun masq {{ \"{bridge}\" }}; \
                     add element inet minirun subnets4 {{ 172.18.0.0/16 }}'"
                ),
                format!("ip link add {bridge} address {} group 7 type bridge", net.mac),
                format!("ip link set {bridge} alias '{}'", net.mark),
                format!("echo 1 > /proc/sys/net/ipv4/conf/{bridge}/route_localnet"),
                format!("echo 1 > /proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"),
                format!("ip address add 172.18.0.1/16 dev {bridge}"),
                format!("ip link set {bridge} up"),
                "echo 1 > /proc/sys/net/ipv4/ip_forward".into(),
            ]
        );
    }

    #[test]
    fn the_second_container_reuses_the_bridge() {
        let net = network(&["172.18.0.0/16"]);
        let (prepare, host) = lines(&publish(&["8080:80"]), &net, &second_run(&net)).unwrap();
        assert!(prepare.is_empty());
        let mac = Mac::of_link(&IfName::parse("mrv01234567890").unwrap());
        let inside = |line: &str| format!("nsenter -t $INIT_PID -n {line}");
        assert_eq!(
            host,
            [
                format!(
                    "ip link add mrv01234567890 up address {mac} master {} group 7 \
                     type veth peer name eth0 address 02:6d:ac:12:00:02 netns $INIT_PID",
                    net.bridge
                ),
                format!("ip link set mrv01234567890 alias '{}'", realm().container_mark(&id())),
                "ip link set mrv01234567890 type bridge_slave hairpin on".into(),
                inside("sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'"),
                inside("ip address add 172.18.0.2/16 dev eth0"),
                inside("ip link set lo up"),
                inside("ip link set eth0 up"),
                inside("ip route add default via 172.18.0.1 dev eth0"),
                "# no shell tool: the monitor keeps a socket bound to 0.0.0.0:8080 (8080/tcp)".into(),
                "nft 'create element inet minirun pub4 { tcp . 8080 comment \"web\" : 172.18.0.2 . 80 }'".into(),
            ]
        );
    }

    #[test]
    fn only_a_new_namespace_gets_links() {
        let net = network(&["172.18.0.0/16"]);
        for (mode, wanted) in [
            (Mode::None, vec!["nsenter -t $INIT_PID -n ip link set lo up"]),
            (Mode::Host, vec![]),
            (Mode::Container(id()), vec![]),
            (Mode::Path(HostPath::parse("/run/netns/x").unwrap()), vec![]),
        ] {
            let request = NetRequest { mode, ..publish(&[]) };
            let (prepare, host) = lines(&request, &net, &first_run(&net)).unwrap();
            assert!(prepare.is_empty());
            assert_eq!(host, wanted);
        }
    }

    #[test]
    fn ports_without_a_network_are_discarded_with_a_warning() {
        let net = network(&["172.18.0.0/16"]);
        let request = NetRequest { mode: Mode::Host, ..publish(&["80:80"]) };
        let plan = plan(&request, &[], &first_run(&net), &id(), "0").unwrap();
        assert_eq!((plan.host.len(), plan.warnings.len()), (0, 1));
    }

    #[test]
    fn what_somebody_else_drops_is_let_through_once_and_said() {
        let net = network(&["172.18.0.0/16"]);
        let chain = ForeignChain { family: 2, table: "filter".into(), chain: "DOCKER-USER".into() };
        let with = |comments: &[&str]| {
            let comments = comments.iter().map(|&comment| comment.to_owned()).collect();
            let foreign = vec![ForeignFacts { chain: chain.clone(), comments }];
            let facts = NetFacts { foreign, ..second_run(&net) };
            lines(&publish(&[]), &net, &facts).unwrap().0
        };
        assert!(with(&["other"])[0].starts_with("nft 'insert rule ip filter DOCKER-USER iifname"));
        assert!(with(&["other", &net.mark, &net.mark]).is_empty());
        assert!(!with(&["other", &net.mark]).is_empty(), "one of the two was deleted");
    }

    #[test]
    fn a_bridge_is_put_into_firewallds_zone_once() {
        let net = network(&["172.18.0.0/16"]);
        let with = |trusted: &[&IfName], strict: bool| {
            let trusted = trusted.iter().map(|&bridge| bridge.clone()).collect();
            let facts = NetFacts { firewalld: Some(Firewalld { trusted, strict }), ..second_run(&net) };
            let holder = Holder { container: id(), pid: 1, start_time: 1, boot_id: "x".into() };
            let lease = net.clone().lend(&Attachment::any(name("bridge")), &holder, &|_| true).unwrap();
            plan(&publish(&["8080:80"]), &[lease], &facts, &id(), "0").unwrap()
        };
        let first = with(&[], false);
        let line = format!("firewall-cmd --zone=trusted --change-interface={}", net.bridge);
        assert_eq!(first.prepare.iter().map(|step| step.shell().to_string()).collect::<Vec<_>>(), [line]);
        assert_eq!(first.warnings.len(), 1);
        assert_eq!(with(&[&net.bridge], false).warnings, [""; 0]);
        let strict = with(&[&net.bridge], true).warnings;
        let rule = "firewall-cmd --add-forward-port=port=8080:proto=tcp:toport=80:toaddr=172.18.0.2";
        assert!(strict.len() == 1 && strict[0].ends_with(rule), "{strict:?}");
    }

    #[test]
    fn both_families_are_published_and_routed() {
        let net = network(&["172.18.0.0/16", "fd00:1::/64"]);
        let (prepare, host) = lines(&publish(&["8080:80"]), &net, &first_run(&net)).unwrap();
        assert!(prepare.contains(&format!("echo 0 > /proc/sys/net/ipv6/conf/{}/accept_ra", net.bridge)));
        assert!(prepare.contains(&"echo 1 > /proc/sys/net/ipv6/conf/all/forwarding".into()));
        assert!(host.contains(&"nsenter -t $INIT_PID -n ip route add default via fd00:1::1 dev eth0".into()));
        let last = host.last().unwrap();
        assert!(last.contains("pub4 { tcp . 8080") && last.contains("pub6 { tcp . 8080"), "{last}");
    }

    #[test]
    fn a_port_that_cannot_be_published_is_refused_before_anything_is_done() {
        let net = network(&["172.18.0.0/16"]);
        for (words, reason) in [
            (vec!["8080:80", "8080:81"], "port 8080/tcp is published twice: 8080/tcp leads to 172.18.0.2:80"),
            (vec!["8080:80", "127.0.0.1:8080:81"], "port 127.0.0.1:8080/tcp is published twice"),
            (vec!["[::1]:8080:80"], "cannot publish port 8080 at ::1: network bridge has no IPv6 addresses"),
        ] {
            let error = lines(&publish(&words), &net, &second_run(&net)).unwrap_err();
            assert!(error.message.starts_with(reason), "{}", error.message);
        }
        lines(&publish(&["8080:80", "8080:80/udp", "127.0.0.1:81:81", "127.0.0.2:81:81"]), &net, &second_run(&net))
            .unwrap();
    }

    #[test]
    fn flushed_rules_are_rebuilt_with_the_ports_of_the_others() {
        let mut net = network(&["172.18.0.0/16"]);
        let other = Holder { container: ContainerId::parse("db").unwrap(), pid: 1, start_time: 1, boot_id: "x".into() };
        net.lend(&Attachment::any(name("bridge")), &other, &|_| true).unwrap();
        let to = "172.18.0.2:53".parse().unwrap();
        net.loans[0].published = vec![Published { ip: None, port: 53, protocol: Protocol::Udp, to }];
        let facts = NetFacts { table: false, rebuild: vec![net.clone()], ..second_run(&net) };
        let (prepare, _) = lines(&publish(&[]), &net, &facts).unwrap();
        assert!(prepare[1].contains("pub4 { udp . 53 comment \"db\" : 172.18.0.2 . 53 }"), "{}", prepare[1]);
        let facts = NetFacts { networks: vec![NetworkFacts { entries: false, ..facts.networks[0].clone() }], ..facts };
        let (prepare, _) = lines(&publish(&[]), &net, &facts).unwrap();
        assert_eq!(prepare.iter().filter(|line| line.contains("add element")).count(), 1);
    }

    #[test]
    fn the_host_forwards_where_a_network_wants_it() {
        let forwards = |change: &dyn Fn(&mut Network)| {
            let mut net = network(&["172.18.0.0/16", "fd00:1::/64"]);
            change(&mut net);
            let lines = lines(&publish(&[]), &net, &first_run(&net)).unwrap().0;
            ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].map(|key| lines.iter().any(|l| l.ends_with(key)))
        };
        assert_eq!(forwards(&|_| ()), [true, true]);
        assert_eq!(forwards(&|net| net.shape.internal = true), [false, false]);
        assert_eq!(forwards(&|net| net.subnets.iter_mut().for_each(|one| one.gateway = None)), [false, false]);
        let between_bridges = |net: &mut Network| {
            net.subnets.pop();
            (net.shape.internal, net.shape.proxy_arp) = (true, true);
        };
        assert_eq!(forwards(&between_bridges), [true, false]);
    }

    #[test]
    fn no_port_is_published_at_the_loopback_address_of_ipv6() {
        let net = network(&["172.18.0.0/16", "fd00:1::/64"]);
        let error = lines(&publish(&["[::1]:8080:80"]), &net, &second_run(&net)).unwrap_err();
        assert!(error.message.starts_with("cannot publish port 8080 at ::1: "), "{}", error.message);
        assert!(error.hint.unwrap().contains("127.0.0.1:8080:80"));
        lines(&publish(&["[fd00::7]:8080:80", "127.0.0.1:8080:80"]), &net, &second_run(&net)).unwrap();
    }

    #[test]
    fn a_plan_survives_its_way_to_the_monitor() {
        let net = network(&["172.18.0.0/16", "fd00:1::/64"]);
        let mut lent = net.clone();
        let holder = Holder { container: id(), pid: 1, start_time: 1, boot_id: "x".into() };
        let lease = lent.lend(&Attachment::any(name("bridge")), &holder, &|_| true).unwrap();
        let plan = plan(&publish(&["127.0.0.1:53:53/udp"]), &[lease], &first_run(&net), &id(), "0").unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<NetPlan>(&json).unwrap(), plan);
    }
}
