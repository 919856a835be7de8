//! The words in which all forms say the same.

use crate::ops::graph::{Bridge, Cable, Container, Graph, Network, Owner, Port, Route};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is said, and of what; the latter is empty where it goes without saying.
pub(super) type Said = (&'static str, String);

/// A link and its ifindex.
pub(super) fn link(name: &str, index: u32) -> String {
    format!("{name} ({index})")
}

/// Whether this host passes packets on.
pub(super) fn forwarding(graph: &Graph) -> String {
    let on = |on| if on { "on" } else { "off" };
    let ipv6 = graph.host.ipv6_forwarding.map(|ipv6| format!(", IPv6 {}", on(ipv6))).unwrap_or_default();
    format!("IPv4 {}{ipv6}", on(graph.host.ip_forward))
}

/// What becomes of packets that leave a network.
pub(super) fn way_out(network: &Network) -> &'static str {
    match (network.leads_out, network.masquerade) {
        _ if !network.routed => "not routed here",
        (true, true) if network.bridge.is_some() && !network.masquerade_live => "masquerade (missing)",
        (true, true) => "masquerade",
        (true, false) => "no masquerade",
        (false, _) if network.internal => "internal",
        (false, _) => "no gateway",
    }
}

/// Why a network has no link.
pub(super) fn missing(network: &Network) -> String {
    match network.segment_of {
        Owner::This | Owner::Network(_) => "no bridge yet: its first container makes it".to_owned(),
        Owner::Host => format!("no link {}: this host has none", network.segment),
    }
}

/// The link by which the host is in it.
pub(super) fn router(network: &Network) -> Option<&Bridge> {
    match (&network.gate, network.vlan) {
        (Some(gate), _) => Some(gate),
        (None, Some(_)) => None,
        (None, None) => network.bridge.as_ref(),
    }
}

/// The host's addresses in it. Those of another network are its own, even where the link is one.
pub(super) fn addresses(network: &Network) -> Vec<IpNet> {
    let own = |address: &&IpNet| {
        !matches!(network.segment_of, Owner::Network(_))
            || network.subnets.iter().any(|subnet| subnet.net.contains(&address.addr()))
    };
    router(network).into_iter().flat_map(|link| &link.addresses).filter(own).copied().collect()
}

/// A gateway that is not the host, or not any more.
pub(super) fn other_gateway(network: &Network, gateway: IpAddr) -> Option<String> {
    if network.bridge.is_none() || addresses(network).iter().any(|address| address.addr() == gateway) {
        return None;
    }
    Some(if network.routed { format!("{gateway} (missing)") } else { format!("{gateway}, another router") })
}

/// What its containers are plugged into, and whose it is.
pub(super) fn segment(network: &Network) -> Vec<Said> {
    let kind = if network.driver == "bridge" { "bridge" } else { "parent" };
    let mut said = match &network.bridge {
        Some(bridge) => vec![(kind, link(&bridge.name, bridge.index))],
        None => vec![("", missing(network))],
    };
    match &network.segment_of {
        Owner::Network(other) => said.push(("of", format!("network {other}"))),
        Owner::Host if network.driver == "bridge" => said.push(("of", "somebody else".to_owned())),
        Owner::Host | Owner::This => {}
    }
    said
}

/// What is promised of it besides the way out.
pub(super) fn promises(network: &Network) -> Vec<Said> {
    let mut said = Vec::new();
    if let Some(mode) = &network.mode {
        said.push(("driver", format!("{}, mode {mode}", network.driver)));
    }
    said.extend(network.vlan.map(|vlan| ("VLAN", vlan.to_string())));
    if !network.trunk.is_empty() {
        said.push(("trunk", format!("VLANs {}", list(&network.trunk))));
    }
    if network.isolated {
        said.push(("isolated", "from each other".to_owned()));
    }
    if network.proxy_arp {
        let missing = network.bridge.is_some() && !network.proxy_arp_live;
        said.push(("proxy ARP", if missing { "missing" } else { "on" }.to_owned()));
    }
    for way in &network.routes {
        let how = way.via.map_or_else(|| "on the wire".to_owned(), |via| format!("via {via}"));
        said.push(("route", format!("{} {how}", way.to)));
    }
    said
}

/// All that stands in the box of a network below its name and way out.
pub(super) fn of_network(network: &Network) -> Vec<Said> {
    let mut said = segment(network);
    if let Some(bridge) = &network.bridge {
        said.extend(bridge.mac.clone().map(|mac| ("MAC", mac)));
        said.push(("mtu", format!("{}, {}", bridge.mtu, if bridge.up { "up" } else { "down" })));
    }
    said.extend(network.gate.iter().map(|gate| ("VLAN link", link(&gate.name, gate.index))));
    for address in addresses(network) {
        let is_gateway = network.routed && network.subnets.iter().any(|subnet| subnet.net.contains(&address.addr()));
        said.push((if is_gateway { "gateway" } else { "address" }, address.to_string()));
    }
    for subnet in &network.subnets {
        said.push(("subnet", subnet.net.to_string()));
        let other = subnet.gateway.and_then(|gateway| other_gateway(network, gateway));
        said.extend(other.map(|gateway| ("gateway", gateway)));
    }
    said.extend(promises(network));
    said
}

/// Both in one.
pub(super) fn line((label, value): Said) -> String {
    if label.is_empty() { value } else { format!("{label} {value}") }
}

/// What a bridge does with what comes by this cable, where its network promises something, or it is not as the others.
pub(super) fn of_port(network: &Network, cable: &Cable) -> Option<String> {
    let mut words = Vec::new();
    match (network.isolated, cable.isolated) {
        (_, true) => words.push("isolated".to_owned()),
        (true, false) if cable.host.is_some() => words.push("not isolated".to_owned()),
        (true | false, false) => {}
    }
    let of = |tagged: bool| -> Vec<u16> {
        cable.vlans.iter().filter(|vlan| vlan.tagged == tagged).map(|vlan| vlan.id).collect()
    };
    let (untagged, tagged) = (of(false), of(true));
    words.extend((!untagged.is_empty()).then(|| format!("VLAN {}", list(&untagged))));
    words.extend((!tagged.is_empty()).then(|| format!("tagged {}", list(&tagged))));
    let promised = network.vlan.is_some() || !network.trunk.is_empty();
    if promised && cable.vlans.is_empty() && cable.host.is_some() {
        words.push("in no VLAN".to_owned());
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

/// `default via` `172.18.0.1 dev eth0`
pub(super) fn route(route: &Route) -> Said {
    let device = &route.device;
    match (route.to.prefix_len(), route.via) {
        (0, Some(via)) => ("default via", format!("{via} dev {device}")),
        (0, None) => ("default", format!("dev {device}")),
        (_, Some(via)) => ("route", format!("{} via {via} dev {device}", route.to)),
        (_, None) => ("route", format!("{} dev {device}", route.to)),
    }
}

/// A container's published ports, `*:8080 → 80/tcp` each: both families are one word, and so are ports that follow
/// one another. What the host's table does not have is said to be missing.
pub(super) fn ports(container: &Container) -> Vec<String> {
    let mut families: BTreeMap<(bool, &str, String, u16, u16), Vec<&Port>> = BTreeMap::new();
    for port in &container.ports {
        let ip = port.listen.ip();
        let at = if ip.is_unspecified() { String::new() } else { ip.to_string() };
        let key = (!port.live, port.protocol.as_str(), at, port.listen.port(), port.to.port());
        families.entry(key).or_default().push(port);
    }
    let whole: Vec<_> = families
        .into_iter()
        .map(|((missing, protocol, at, port, to), of)| {
            let v6 = |v6: bool| of.iter().any(|port| port.listen.is_ipv6() == v6);
            let at = match (v6(false), v6(true)) {
                _ if at.contains(':') => format!("[{at}]"),
                _ if !at.is_empty() => at,
                (true, true) => "*".to_owned(),
                (true, false) => "0.0.0.0".to_owned(),
                (false, _) => "[::]".to_owned(),
            };
            (missing, protocol, at, port, to)
        })
        .collect();
    let follow = |a: &(bool, &str, String, u16, u16), b: &(bool, &str, String, u16, u16)| {
        (a.0, a.1, &a.2) == (b.0, b.1, &b.2) && (b.3.checked_sub(a.3), b.4.checked_sub(a.4)) == (Some(1), Some(1))
    };
    let word = |run: &[(bool, &str, String, u16, u16)]| {
        let ((missing, protocol, at, first, to), (.., last, last_to)) = (run.first()?, run.last()?);
        let range = |first: &u16, last: &u16| match run.len() {
            1 => first.to_string(),
            _ => format!("{first}-{last}"),
        };
        let missing = if *missing { " (missing)" } else { "" };
        Some(format!("{at}:{} → {}/{protocol}{missing}", range(first, last), range(to, last_to)))
    };
    whole.chunk_by(follow).filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::tests::{graph, port, segments};

    #[test]
    fn ports_are_said_in_few_words() {
        let mut one = graph(1, 1, false).containers.remove(0);
        one.ports = [8002, 8000, 8001]
            .iter()
            .flat_map(|n| {
                [
                    port(&format!("0.0.0.0:{n}"), &format!("10.0.0.2:{n}")),
                    port(&format!("[::]:{n}"), &format!("[fd00::2]:{n}")),
                ]
            })
            .collect();
        one.ports.push(port("127.0.0.1:80", "10.0.0.2:80"));
        one.ports.push(port("[::1]:80", "[fd00::2]:80"));
        one.ports.push(port("0.0.0.0:9000", "10.0.0.2:80"));
        one.ports.push(Port { live: false, ..port("[::]:9001", "[fd00::2]:81") });
        assert_eq!(
            ports(&one),
            [
                "*:8000-8002 → 8000-8002/tcp",
                "0.0.0.0:9000 → 80/tcp",
                "127.0.0.1:80 → 80/tcp",
                "[::1]:80 → 80/tcp",
                "[::]:9001 → 81/tcp (missing)"
            ]
        );
    }

    #[test]
    fn what_somebody_has_taken_away_is_said() {
        let mut graph = segments();
        let [ten, quiet, near, lan] = &mut graph.networks[..] else { panic!() };
        for cable in graph.containers.iter_mut().flat_map(|one| &mut one.cables) {
            (cable.isolated, cable.vlans) = (false, Vec::new());
        }
        let of = |network: &Network, one: usize| of_port(network, &graph.containers[one].cables[0]);
        assert_eq!(of(ten, 0).as_deref(), Some("in no VLAN"));
        assert_eq!(of(quiet, 1).as_deref(), Some("not isolated"));
        (near.proxy_arp_live, near.bridge.as_mut().unwrap().addresses) = (false, Vec::new());
        let said: Vec<String> = of_network(near).into_iter().map(line).collect();
        assert!(said.contains(&"gateway 192.168.1.1 (missing)".to_owned()), "{said:?}");
        assert!(said.contains(&"proxy ARP missing".to_owned()), "{said:?}");
        lan.bridge = None;
        assert_eq!(segment(lan), [("", "no link eth0: this host has none".to_owned())]);
    }
}
