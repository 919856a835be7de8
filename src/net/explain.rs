//! The network's steps, said: each as a line of shell, and why it is done. Pure.

use super::dns::redirect::{self, ADDRESS};
use super::entry::{self, Entry};
use super::others::legacy_text;
use super::publish::{Protocol, Published};
use super::ruleset;
use super::step::{ForeignChain, Member, Netns, Step, Sublink, SublinkKind, Undo, Veth, udp_ports};
use crate::id::IfName;
use crate::shell::{Shell, quote, words};

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
    use crate::id::HostPath;
    use crate::net::names::Mac;

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
