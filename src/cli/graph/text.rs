//! The graph as a tree, for a person in a terminal.

use super::words::{
    Said, addresses, forwarding, line, link, missing, of_port, other_gateway, ports, promises, route, segment, way_out,
};
use super::{cables_of, clip};
use crate::ops::graph::{Cable, Container, End, Graph, Network};

/// A line is never longer: what does not fit goes on in the next.
const COLUMNS: usize = 100;
/// Of a name; two of them and two ends of a cable fit in a line.
const NAME: usize = 40;

/// Words that are said together, and what belongs to them.
struct Branch {
    words: Vec<String>,
    below: Vec<Branch>,
}

pub(super) fn draw(graph: &Graph) -> String {
    let mut root = Branch {
        words: vec![format!("host {}", clip(&graph.host.name, NAME)), format!("forwarding {}", forwarding(graph))],
        below: Vec::new(),
    };
    for uplink in &graph.host.uplinks {
        let mut words = vec![format!("uplink {}", link(&uplink.name, uplink.index))];
        words.extend(uplink.mac.clone());
        words.extend(uplink.addresses.iter().map(ToString::to_string));
        words.extend(uplink.gateways.iter().map(|gateway| format!("default route via {gateway}")));
        root.below.push(leaf(words));
    }
    if graph.host.uplinks.is_empty() {
        root.below.push(leaf(vec!["no uplink: the host has no default route".to_owned()]));
    }
    root.below.extend(graph.networks.iter().map(|network| of_network(graph, network)));
    root.below.extend(graph.containers.iter().map(of_container));
    let mut text = String::new();
    write(&mut text, &root, "", "");
    text
}

fn leaf(words: Vec<String>) -> Branch {
    Branch { words, below: Vec::new() }
}

fn of_network(graph: &Graph, network: &Network) -> Branch {
    let mut below = vec![of_segment(network)];
    if let Some(gate) = &network.gate {
        let mut words = vec![format!("VLAN link {}", link(&gate.name, gate.index))];
        words.extend(gate.mac.clone());
        words.extend(addresses(network).iter().map(ToString::to_string));
        below.push(leaf(words));
    }
    for subnet in &network.subnets {
        let other = |gateway| other_gateway(network, gateway).unwrap_or_else(|| gateway.to_string());
        let gateway = subnet.gateway.map(|gateway| format!("gateway {}", other(gateway)));
        below.push(leaf([format!("subnet {}", subnet.net)].into_iter().chain(gateway).collect()));
    }
    let promises: Vec<String> = promises(network).into_iter().map(line).collect();
    below.extend((!promises.is_empty()).then(|| leaf(promises)));
    for (one, cable) in cables_of(graph, network) {
        let name = clip(&one.name, NAME);
        let (host, inside) = (of_end(cable.host.as_ref()), of_end(cable.inside.as_ref()));
        let port = of_port(network, cable);
        below.push(leaf([format!("{host} ── {inside} of {name}")].into_iter().chain(port).collect()));
    }
    let words = vec![format!("network {}", clip(&network.name, NAME)), way_out(network).to_owned()];
    Branch { words, below }
}

fn of_segment(network: &Network) -> Branch {
    let Some(bridge) = &network.bridge else { return leaf(vec![missing(network)]) };
    let clipped = |(label, value): Said| line((label, clip(&value, NAME)));
    let mut words: Vec<String> = segment(network).into_iter().map(clipped).collect();
    words.extend(bridge.mac.clone());
    if network.gate.is_none() {
        words.extend(addresses(network).iter().map(ToString::to_string));
    }
    words.push(format!("mtu {}", bridge.mtu));
    words.push(if bridge.up { "up" } else { "down" }.to_owned());
    leaf(words)
}

fn of_end(end: Option<&End>) -> String {
    end.map_or_else(|| "no link".to_owned(), |end| link(&end.name, end.index))
}

fn of_container(one: &Container) -> Branch {
    let mut below: Vec<Branch> = one.cables.iter().map(of_cable).collect();
    let words = |of| line(route(of)).replacen("default", "default route", 1);
    below.extend(one.routes.iter().map(|of| leaf(vec![words(of)])));
    let ports = ports(one);
    if let Some((first, others)) = ports.split_first() {
        let words = std::iter::once(format!("published {first}")).chain(others.iter().cloned());
        below.push(leaf(words.collect()));
    }
    let words = [format!("container {}", clip(&one.name, NAME)), one.short().to_owned(), one.state.clone()];
    Branch { words: words.to_vec(), below }
}

fn of_cable(cable: &Cable) -> Branch {
    let mut words = vec![of_end(cable.inside.as_ref())];
    words.extend(cable.inside.as_ref().and_then(|end| end.mac.clone()));
    words.extend(cable.addresses.iter().map(ToString::to_string));
    words.push(format!("in {}", clip(&cable.network, NAME)));
    leaf(words)
}

/// `first` stands before the branch's own first line, `next` before all below it.
fn write(text: &mut String, branch: &Branch, first: &str, next: &str) {
    let bar = if branch.below.is_empty() { "   " } else { "│  " };
    let mut line = first.to_owned();
    let mut fresh = true;
    for (at, word) in branch.words.iter().enumerate() {
        let comma = if at + 1 < branch.words.len() { "," } else { "" };
        let length = line.chars().count() + 1 + word.chars().count() + comma.len();
        if !fresh && length > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = format!("{next}{bar}");
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        line.push_str(comma);
        fresh = false;
    }
    text.push_str(&line);
    text.push('\n');
    for (at, below) in branch.below.iter().enumerate() {
        let (own, behind) = if at + 1 == branch.below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        write(text, below, &format!("{next}{own}"), &format!("{next}{behind}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::tests::{graph, port, segments};

    #[test]
    fn a_tree_of_host_networks_and_containers() {
        let want = "\
host host, forwarding IPv4 on, IPv6 off
├─ uplink eth0 (2), 10.0.2.15/24, fd00:9::f/64, default route via 10.0.2.2
├─ network net0, masquerade
│  ├─ bridge mr-0123456700 (10), 02:6d:ff:00:00:00, 172.18.0.1/16, fd00:0::1/64, mtu 1500, up
│  ├─ subnet 172.18.0.0/16
│  ├─ subnet fd00::/64
│  └─ mrv0123456700 (100) ── eth0 (2) of web0
└─ container web0, 000000000000, running
   ├─ eth0 (2), 02:6d:00:00:00:02, 172.18.0.2/16, fd00::2/64, in net0
   ├─ default route via 172.18.0.1 dev eth0
   ├─ default route via fd00::1 dev eth0
   └─ published *:8080 → 80/tcp, *:8081 → 80/tcp
"
        .replace("fd00:0::", "fd00::");
        assert_eq!(draw(&graph(1, 1, false)), want);
    }

    #[test]
    fn what_is_between_containers_is_said() {
        let text = draw(&segments());
        for line in [
            "│  ├─ VLAN link mrl-0123456789 (40), 02:6d:ff:00:00:00, 172.18.0.1/16, fd00::1/64",
            "│  ├─ VLAN 10, trunk VLANs 20 30",
            "│  └─ mrv0123456700 (100) ── eth0 (2) of web0, VLAN 10, tagged 20",
            "│  ├─ subnet 192.168.1.0/24, gateway 192.168.1.1",
            "│  ├─ proxy ARP on, route 192.168.2.0/24 on the wire, route 10.0.0.0/8 via 192.168.1.9",
            "│  ├─ parent eth0 (2), 02:6d:ff:00:00:00, 172.18.0.1/16, fd00::1/64, mtu 1500, up",
            "│  └─ eth0 (2) ── eth0 (2) of web2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_network_without_a_bridge_says_so() {
        let text = draw(&graph(4, 0, false));
        assert!(text.contains("network net3, no masquerade\n   ├─ no bridge yet"), "{text}");
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let mut graph = graph(3, 12, true);
        graph.containers[0].ports =
            (0..200).map(|n| port(&format!("127.0.0.1:{}", 8000 + 2 * n), "172.18.0.2:80")).collect();
        let text = draw(&graph);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!((90..=COLUMNS).contains(&longest), "{longest}:\n{text}");
    }
}
