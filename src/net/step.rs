//! The network's steps: each one kernel verb, one file write or one transaction, as data, as a shell line and as its
//! undo. Pure.
//!
//! Steps on what containers share (bridge, table, sysctls, other people's chains) are idempotent and have no undo here:
//! they belong to the network's record.

use super::dns::redirect::{self, ADDRESS};
use super::entry::{self, Entry};
use super::names::Mac;
use super::others::legacy_text;
use super::publish::{Protocol, Published};
use super::ruleset;
use super::shape::{IpvlanMode, MacvlanMode};
use crate::id::{HostPath, IfName};
use crate::shell::{Shell, quote, words};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// In which network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Netns {
    Host,
    /// That of init, through a socket opened in it.
    Init,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// `key` is the path below /proc/sys.
    SetSysctl {
        netns: Netns,
        key: String,
        value: String,
    },
    /// Our table with all maps and rules; there already is done.
    EnsureRuleset {
        table: String,
    },
    /// Our table with these elements, in place of what is there, in one transaction.
    ReplaceRuleset {
        table: String,
        entries: Vec<Entry>,
    },
    /// Elements of our table that containers share; there already is done.
    EnsureEntries {
        table: String,
        entries: Vec<Entry>,
    },
    /// A bridge, still down where it is new; one that is there gets these properties.
    EnsureBridge {
        name: IfName,
        mac: Mac,
        group: u32,
        mtu: Option<u32>,
    },
    SetAlias {
        link: IfName,
        alias: String,
    },
    /// Two accept rules in front of somebody else's chain.
    AllowForward {
        chain: ForeignChain,
        bridge: IfName,
        comment: String,
    },
    /// Two accept rules in front of iptables-legacy's FORWARD, by its program.
    AllowLegacy {
        program: HostPath,
        bridge: IfName,
        comment: String,
    },
    /// Into firewalld's zone `trusted`, until that is reloaded.
    TrustBridge {
        bridge: IfName,
    },
    /// One message: the host's end, up and on the bridge, and the peer in init's namespace.
    AddVeth(Veth),
    /// The host's end of a cable that is there, up and on the bridge again.
    PlugIn {
        link: IfName,
        bridge: IfName,
    },
    /// Packets may leave by the port on which they came.
    SetHairpin {
        link: IfName,
    },
    /// The port passes nothing on to other ports of this kind.
    SetIsolated {
        link: IfName,
    },
    /// The bridge looks at VLAN tags from now on.
    FilterVlans {
        bridge: IfName,
    },
    /// The port is no member of this VLAN any more.
    LeaveVlan {
        link: IfName,
        vlan: u16,
    },
    JoinVlan {
        link: IfName,
        vlan: u16,
        member: Member,
    },
    /// The host's own way into one VLAN of a bridge; there already is done.
    EnsureVlanLink {
        name: IfName,
        bridge: IfName,
        vlan: u16,
        mac: Mac,
    },
    /// A link of init's namespace on one of the host's.
    AddSublink(Sublink),
    /// A link of init's namespace, still down.
    RenameLink {
        from: IfName,
        to: IfName,
    },
    AddAddress {
        netns: Netns,
        link: IfName,
        address: IpNet,
    },
    LinkUp {
        netns: Netns,
        link: IfName,
    },
    /// The default route of the gateway's family.
    AddDefaultRoute {
        netns: Netns,
        via: IpAddr,
        link: IfName,
    },
    /// A route to a net or a host; where it leads is behind `via`, or on the link itself.
    AddRoute {
        netns: Netns,
        to: IpNet,
        via: Option<IpAddr>,
        link: IfName,
    },
    /// A bound socket that the monitor keeps.
    HoldPort {
        table: String,
        port: Published,
    },
    /// All ports in one transaction; one that is taken refuses all.
    Publish {
        table: String,
        owner: String,
        ports: Vec<Published>,
    },
    /// Sockets of the monitor in init's namespace, which questions for names lead to.
    AnswerNames,
    /// Forgets the flows that went to these ports before.
    ForgetFlows {
        protocol: Protocol,
        ports: Vec<u16>,
    },
}

/// A cable between the bridge and the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host's end.
    pub host: IfName,
    pub mac: Mac,
    pub bridge: IfName,
    pub group: u32,
    pub mtu: Option<u32>,
    /// The end in init's network namespace.
    pub peer: IfName,
    pub peer_mac: Mac,
    /// The alias that a later step gives to the host's end, and that its undo looks for.
    pub mark: String,
}

/// A link on another one: what comes in there for its address is handed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sublink {
    pub parent: IfName,
    pub kind: SublinkKind,
    /// In init's network namespace.
    pub name: IfName,
    pub mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SublinkKind {
    Macvlan(MacvlanMode, Mac),
    /// It has its parent's MAC address.
    Ipvlan(IpvlanMode),
}

/// How a port is in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Member {
    /// Its frames carry no tag, and those that come without one are of this VLAN.
    Untagged,
    Tagged,
    /// The bridge itself, as the host's own port.
    Host,
}

/// A chain that is not ours and drops what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChain {
    /// NFPROTO_IPV4, NFPROTO_IPV6 or NFPROTO_INET.
    pub family: u8,
    pub table: String,
    pub chain: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// Only where the link carries this alias, or none yet.
    DeleteLink { link: IfName, mark: String },
    /// Only the elements that carry the owner's comment; flows of UDP ports are forgotten.
    Unpublish { table: String, owner: String, ports: Vec<Published> },
}

impl ForeignChain {
    /// `ip filter FORWARD`, as nft names it.
    pub fn text(&self) -> String {
        let family = match libc::c_int::from(self.family) {
            libc::NFPROTO_IPV4 => "ip",
            libc::NFPROTO_IPV6 => "ip6",
            _ => "inet",
        };
        format!("{family} {} {}", self.table, self.chain)
    }
}

impl Step {
    pub fn shell(&self) -> Shell {
        Shell::line(match self {
            Step::SetSysctl { netns, key, value } => netns.shell(&format!("echo {} > /proc/sys/{key}", quote(value))),
            Step::EnsureRuleset { table } => format!("nft {}", quote(&ruleset::text(table))),
            Step::ReplaceRuleset { table, entries } => {
                let (ruleset, entries) = (ruleset::text(table), entry::add_text(table, entries));
                let all = format!("table inet {table}; delete table inet {table}; {ruleset}; {entries}");
                format!("nft {}", quote(all.trim_end_matches("; ")))
            }
            Step::EnsureEntries { table, entries } => format!("nft {}", quote(&entry::add_text(table, entries))),
            Step::EnsureBridge { name, mac, group, mtu } => {
                format!("ip link add {name} address {mac} group {group}{} type bridge", mtu_text(*mtu))
            }
            Step::SetAlias { link, alias } => format!("ip link set {link} alias {}", quote(alias)),
            Step::AllowForward { chain, bridge, comment } => format!("nft {}", quote(&allow(chain, bridge, comment))),
            Step::AllowLegacy { program, bridge, comment } => legacy_text(program.as_str(), bridge, comment),
            Step::TrustBridge { bridge } => format!("firewall-cmd --zone=trusted --change-interface={bridge}"),
            Step::AddVeth(veth) => veth.shell(),
            Step::PlugIn { link, bridge } => format!("ip link set {link} up master {bridge}"),
            Step::SetHairpin { link } => format!("ip link set {link} type bridge_slave hairpin on"),
            Step::SetIsolated { link } => format!("ip link set {link} type bridge_slave isolated on"),
            Step::FilterVlans { bridge } => format!("ip link set {bridge} type bridge vlan_filtering 1"),
            Step::LeaveVlan { link, vlan } => format!("bridge vlan del dev {link} vid {vlan}"),
            Step::JoinVlan { link, vlan, member } => format!("bridge vlan add dev {link} vid {vlan}{}", member.text()),
            Step::EnsureVlanLink { name, bridge, vlan, mac } => {
                format!("ip link add link {bridge} name {name} address {mac} type vlan id {vlan}")
            }
            Step::AddSublink(sublink) => sublink.shell(),
            Step::RenameLink { from, to } => Netns::Init.ip(&format!("link set {from} name {to}")),
            Step::AddRoute { netns, to, via, link } => {
                let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
                netns.ip(&format!("route add {to}{via} dev {link}"))
            }
            Step::AddAddress { netns, link, address } => {
                let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
                netns.ip(&format!("address add {address} dev {link}{nodad}"))
            }
            Step::LinkUp { netns, link } => netns.ip(&format!("link set {link} up")),
            Step::AddDefaultRoute { netns, via, link } => netns.ip(&format!("route add default via {via} dev {link}")),
            Step::HoldPort { port, .. } => {
                return Shell::no_tool(format!("the monitor keeps a socket bound to {} ({port})", port.listen()));
            }
            Step::Publish { table, owner, ports } => {
                let entries: Vec<Entry> = ports.iter().map(|p| Entry::Port(p.clone(), owner.clone())).collect();
                format!("nft {}", quote(&entry::add_text(table, &entries).replace("add element", "create element")))
            }
            Step::AnswerNames => {
                let rules = quote(&redirect::text("UDP", "TCP"));
                return Shell::no_tool(format!(
                    "the monitor opens a UDP and a TCP socket at {ADDRESS} in there, and asks for port 53 to lead to \
                     theirs: nsenter -t $INIT_PID -n nft {rules}"
                ));
            }
            Step::ForgetFlows { protocol, ports } => forget(*protocol, ports),
        })
    }

    /// Why it is done, in one clause.
    pub fn why(&self) -> &'static str {
        match self {
            Step::SetSysctl { key, .. } => why_sysctl(key),
            Step::EnsureRuleset { .. } => "NAT, published ports and isolation: one table, whatever runs",
            Step::ReplaceRuleset { .. } => "at once, so that published ports answer all the while",
            Step::EnsureEntries { .. } => "the rules look up bridges and subnets in sets instead of naming them",
            Step::EnsureBridge { .. } => "a bridge is a switch: containers of a network are plugged into it",
            Step::SetAlias { .. } => "our mark: nothing without it is ever removed",
            Step::AllowForward { .. } => "this chain drops what it does not know, and an accept elsewhere cannot help",
            Step::AllowLegacy { .. } => "iptables-legacy drops what it does not know; only its own rules help",
            Step::TrustBridge { .. } => "firewalld rejects what comes from a link of none of its zones",
            Step::AddVeth(_) => "a veth is a cable: one end on the bridge, the other inside the container",
            Step::PlugIn { .. } => "a bridge that was deleted has left its cables unplugged",
            Step::SetHairpin { .. } => "the container may call its own published port, by the port it came from",
            Step::SetIsolated { .. } => "the containers of this network do not reach each other",
            Step::FilterVlans { .. } => "one bridge carries several segments: frames stay in their VLAN",
            Step::LeaveVlan { .. } => "a new port is a member of VLAN 1",
            Step::JoinVlan { member: Member::Host, .. } => "the host is in this VLAN, too",
            Step::JoinVlan { .. } => "the segment that the container is in",
            Step::EnsureVlanLink { .. } => "the gateway of one VLAN is behind its tag",
            Step::AddSublink(_) => "a part of the host's own link: no bridge, and the host itself is not reached",
            Step::RenameLink { .. } => "older kernels look for its name on the host first, which may have one",
            Step::AddRoute { netns: Netns::Host, .. } => {
                "the host knows behind which bridge this one is, and answers for it"
            }
            Step::AddRoute { .. } => "asked for, with the network",
            Step::AddAddress { netns: Netns::Host, .. } => "the bridge's address is the containers' gateway",
            Step::AddAddress { netns: Netns::Init, .. } => "the container's address, with a route to its neighbours",
            Step::LinkUp { .. } => "a link is made down",
            Step::AddDefaultRoute { .. } => "all other addresses are behind the bridge",
            Step::HoldPort { .. } => "other programs meet EADDRINUSE instead of silence",
            Step::Publish { .. } => "one map element for each published port: no proxy process, no rule",
            Step::AnswerNames => "the monitor answers for names, and its sockets leave port 53 to the container",
            Step::ForgetFlows { .. } => "a flow that began before keeps its old target as long as packets come",
        }
    }

    /// What takes it back.
    pub fn undo(&self) -> Option<Undo> {
        match self {
            Step::AddVeth(veth) => Some(Undo::DeleteLink { link: veth.host.clone(), mark: veth.mark.clone() }),
            Step::Publish { table, owner, ports } => {
                Some(Undo::Unpublish { table: table.clone(), owner: owner.clone(), ports: ports.clone() })
            }
            Step::SetSysctl { .. }
            | Step::SetIsolated { .. }
            | Step::FilterVlans { .. }
            | Step::LeaveVlan { .. }
            | Step::JoinVlan { .. }
            | Step::EnsureVlanLink { .. }
            | Step::AddSublink(_)
            | Step::RenameLink { .. }
            | Step::AddRoute { .. }
            | Step::EnsureRuleset { .. }
            | Step::ReplaceRuleset { .. }
            | Step::EnsureEntries { .. }
            | Step::EnsureBridge { .. }
            | Step::SetAlias { .. }
            | Step::AllowForward { .. }
            | Step::AllowLegacy { .. }
            | Step::TrustBridge { .. }
            | Step::PlugIn { .. }
            | Step::SetHairpin { .. }
            | Step::AddAddress { .. }
            | Step::LinkUp { .. }
            | Step::AddDefaultRoute { .. }
            | Step::HoldPort { .. }
            | Step::AnswerNames
            | Step::ForgetFlows { .. } => None,
        }
    }
}

impl Undo {
    pub fn shell(&self) -> Shell {
        Shell::line(match self {
            Undo::DeleteLink { link, .. } => format!("ip link delete {link}"),
            Undo::Unpublish { table, ports, .. } => {
                let key = |port: &Published| {
                    let set = Entry::Port(port.clone(), String::new()).set();
                    format!("delete element inet {table} {set} {{ {} }}", entry::key_text(port))
                };
                let lines: Vec<String> = ports.iter().map(key).collect();
                let udp = udp_ports(ports);
                let flows = if udp.is_empty() { String::new() } else { format!("; {}", forget(Protocol::Udp, &udp)) };
                format!("nft {}{flows}", quote(&lines.join("; ")))
            }
        })
    }

    /// The kernel does it by itself soon after the last process of the namespaces is gone, in the background; asking
    /// for it waits 18 ms for RCU. So the engine may answer its caller first, and do this after.
    pub fn follows_init(&self) -> bool {
        match self {
            Undo::DeleteLink { .. } => true,
            Undo::Unpublish { .. } => false,
        }
    }
}

/// The host ports that are UDP.
pub fn udp_ports(ports: &[Published]) -> Vec<u16> {
    ports.iter().filter(|port| port.protocol == Protocol::Udp).map(|port| port.port).collect()
}

impl Veth {
    fn shell(&self) -> String {
        let mtu = mtu_text(self.mtu);
        format!(
            "ip link add {} up address {} master {} group {}{mtu} type veth peer name {} address {}{mtu} netns $INIT_PID",
            self.host, self.mac, self.bridge, self.group, self.peer, self.peer_mac
        )
    }
}

impl Sublink {
    fn shell(&self) -> String {
        let (kind, mac) = match self.kind {
            SublinkKind::Macvlan(mode, mac) => (format!("macvlan mode {}", mode.name()), format!(" address {mac}")),
            SublinkKind::Ipvlan(mode) => (format!("ipvlan mode {}", mode.name()), String::new()),
        };
        let (Sublink { parent, name, .. }, mtu) = (self, mtu_text(self.mtu));
        format!("ip link add link {parent} name {name}{mac}{mtu} netns $INIT_PID type {kind}")
    }
}

impl Member {
    fn text(self) -> &'static str {
        match self {
            Member::Untagged => " pvid untagged",
            Member::Tagged => "",
            Member::Host => " self",
        }
    }
}

impl Netns {
    fn ip(self, arguments: &str) -> String {
        match self {
            Netns::Host => format!("ip {arguments}"),
            Netns::Init => format!("nsenter -t $INIT_PID -n ip {arguments}"),
        }
    }

    fn shell(self, line: &str) -> String {
        match self {
            Netns::Host => line.to_owned(),
            Netns::Init => format!("nsenter -t $INIT_PID -n sh -c {}", quote(line)),
        }
    }
}

fn mtu_text(mtu: Option<u32>) -> String {
    mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default()
}

fn allow(chain: &ForeignChain, bridge: &IfName, comment: &str) -> String {
    let rule = |key| format!("insert rule {} {key} \"{bridge}\" accept comment \"{comment}\"", chain.text());
    format!("{}; {}", rule("iifname"), rule("oifname"))
}

/// conntrack(8) fails where there is no such flow.
fn forget(protocol: Protocol, ports: &[u16]) -> String {
    let line = |port: &u16| {
        let (protocol, port) = (protocol.to_string(), port.to_string());
        let line = words(["conntrack", "-D", "-p", &protocol, "--orig-port-dst", &port]);
        format!("{line} 2> /dev/null || true")
    };
    ports.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn why_sysctl(key: &str) -> &'static str {
    let name = key.rsplit('/').next().unwrap_or(key);
    match name {
        "ip_forward" | "forwarding" => "the host hands packets on between the bridge and the outside",
        "route_localnet" => "connections from 127.0.0.1 may leave by the bridge: published ports answer there too",
        "disable_ipv6" => "this network has no IPv6: no link-local address, no router advertisement",
        "accept_ra" if !key.contains("/mr-") => "a host that forwards listens to its own router only with 2",
        "accept_ra" => "a container must not advertise itself as the host's router",
        "accept_redirects" => "the host is the router between these subnets, and stays it",
        "proxy_arp" => "the host answers for addresses of the subnet that are behind another bridge",
        "proxy_delay" => "it answers at once",
        "ping_group_range" => "ping needs no privilege",
        "ip_unprivileged_port_start" => "port 80 needs no privilege: the namespace is the container's own",
        _ => "asked for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_shell_line() {
        let name = |name: &str| IfName::parse(name).unwrap();
        let mac = Mac([2, 0x6d, 0, 0, 0, 1]);
        let port = Published { ip: None, port: 8080, protocol: Protocol::Udp, to: "172.18.0.2:80".parse().unwrap() };
        let veth = Veth {
            host: name("mrv0"),
            mac,
            bridge: name("mr-0"),
            group: 7,
            mtu: Some(1400),
            peer: name("eth0"),
            peer_mac: mac,
            mark: "minirun x".into(),
        };
        let chain = ForeignChain { family: 2, table: "filter".into(), chain: "FORWARD".into() };
        let (bridge, table) = (name("mr-0"), "minirun".to_owned());
        let init = Netns::Init;
        for (step, line) in [
            (
                Step::SetSysctl { netns: Netns::Host, key: "net/ipv4/ip_forward".into(), value: "1".into() },
                "echo 1 > /proc/sys/net/ipv4/ip_forward",
            ),
            (
                Step::SetSysctl { netns: init, key: "net/ipv4/ping_group_range".into(), value: "0 9".into() },
                r"nsenter -t $INIT_PID -n sh -c 'echo '\''0 9'\'' > /proc/sys/net/ipv4/ping_group_range'",
            ),
            (
                Step::EnsureEntries { table: table.clone(), entries: vec![Entry::Bridge(bridge.clone())] },
                r#"nft 'add element inet minirun bridges { "mr-0" }'"#,
            ),
            (
                Step::EnsureBridge { name: bridge.clone(), mac, group: 7, mtu: None },
                "ip link add mr-0 address 02:6d:00:00:00:01 group 7 type bridge",
            ),
            (Step::PlugIn { link: name("mrv0"), bridge: bridge.clone() }, "ip link set mrv0 up master mr-0"),
            (Step::SetAlias { link: bridge.clone(), alias: "a b".into() }, "ip link set mr-0 alias 'a b'"),
            (
                Step::AllowForward { chain, bridge: bridge.clone(), comment: "m".into() },
                r#"nft 'insert rule ip filter FORWARD iifname "mr-0" accept comment "m"; insert rule ip filter FORWARD oifname "mr-0" accept comment "m"'"#,
            ),
            (
                Step::AllowLegacy {
                    program: HostPath::parse("/sbin/iptables-legacy").unwrap(),
                    bridge: bridge.clone(),
                    comment: "a b".into(),
                },
                "/sbin/iptables-legacy -w 10 -I FORWARD -i mr-0 -m comment --comment 'a b' -j ACCEPT; /sbin/iptables-legacy -w 10 -I FORWARD -o mr-0 -m comment --comment 'a b' -j ACCEPT",
            ),
            (
                Step::AddVeth(veth),
                "ip link add mrv0 up address 02:6d:00:00:00:01 master mr-0 group 7 mtu 1400 type veth peer name eth0 address 02:6d:00:00:00:01 mtu 1400 netns $INIT_PID",
            ),
            (Step::SetHairpin { link: name("mrv0") }, "ip link set mrv0 type bridge_slave hairpin on"),
            (
                Step::AddAddress { netns: init, link: name("eth0"), address: "172.18.0.2/16".parse().unwrap() },
                "nsenter -t $INIT_PID -n ip address add 172.18.0.2/16 dev eth0",
            ),
            (Step::LinkUp { netns: Netns::Host, link: bridge }, "ip link set mr-0 up"),
            (
                Step::AddDefaultRoute { netns: init, via: "172.18.0.1".parse().unwrap(), link: name("eth0") },
                "nsenter -t $INIT_PID -n ip route add default via 172.18.0.1 dev eth0",
            ),
            (
                Step::HoldPort { table: table.clone(), port: port.clone() },
                "# no shell tool: the monitor keeps a socket bound to 0.0.0.0:8080 (8080/udp)",
            ),
            (
                Step::Publish { table, owner: "web".into(), ports: vec![port] },
                r#"nft 'create element inet minirun pub4 { udp . 8080 comment "web" : 172.18.0.2 . 80 }'"#,
            ),
            (
                Step::ForgetFlows { protocol: Protocol::Udp, ports: vec![8080] },
                "conntrack -D -p udp --orig-port-dst 8080 2> /dev/null || true",
            ),
        ] {
            assert_eq!(step.shell().to_string(), line);
            assert!(!step.why().is_empty());
        }
    }

    #[test]
    fn only_what_is_the_containers_own_is_undone() {
        let port = Published { ip: None, port: 53, protocol: Protocol::Udp, to: "172.18.0.2:53".parse().unwrap() };
        let publish = Step::Publish { table: "minirun".into(), owner: "web".into(), ports: vec![port] };
        let undo = publish.undo().unwrap();
        assert_eq!(
            undo.shell().to_string(),
            "nft 'delete element inet minirun pub4 { udp . 53 }'; conntrack -D -p udp --orig-port-dst 53 2> /dev/null || true"
        );
        assert!(!undo.follows_init());
        assert_eq!(Step::EnsureRuleset { table: "minirun".into() }.undo(), None);
    }

    #[test]
    fn a_table_is_replaced_in_one_call() {
        let entries = vec![Entry::Bridge(IfName::parse("mr-0").unwrap())];
        let line = Step::ReplaceRuleset { table: "minirun".into(), entries }.shell().to_string();
        assert!(
            line.starts_with("nft 'table inet minirun; delete table inet minirun; table inet minirun {\n"),
            "{line}"
        );
        assert!(line.ends_with("}; add element inet minirun bridges { \"mr-0\" }'"), "{line}");
    }
}
