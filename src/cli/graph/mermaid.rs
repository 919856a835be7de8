//! The graph as a flowchart of mermaid, which web pages of repositories draw.

use super::network;
use super::words::{self, forwarding, line, link, of_port, ports, route, way_out};
use crate::ops::graph::{Cable, Container, Graph, Network, Uplink};
use std::fmt::Write as _;

pub(super) fn draw(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n  outside([outside])\n");
    // one line: of a second one mermaid knows nothing when it places what is inside
    let title = format!("host {}, forwarding {}", graph.host.name, forwarding(graph));
    let _ = writeln!(text, "  subgraph host[{}]", label(&[title]));
    for (at, uplink) in graph.host.uplinks.iter().enumerate() {
        let _ = writeln!(text, "    uplink{at}[{}]", label(&of_uplink(uplink)));
    }
    for (at, network) in graph.networks.iter().enumerate() {
        let _ = writeln!(text, "    network{at}[[{}]]", label(&of_network(network)));
    }
    for (at, one) in graph.containers.iter().enumerate() {
        let _ = writeln!(text, "    container{at}({})", label(&of_container(one)));
    }
    text.push_str("  end\n");
    for at in 0..graph.host.uplinks.len() {
        let _ = writeln!(text, "  outside --- uplink{at}");
    }
    for (at, network) in graph.networks.iter().enumerate().filter(|(_, network)| network.leads_out) {
        for uplink in 0..graph.host.uplinks.len() {
            let line = if network.bridge.is_some() { "---" } else { "-.-" };
            let _ = writeln!(text, "  uplink{uplink} {line}|{}| network{at}", label(&[way_out(network).to_owned()]));
        }
    }
    // where there is no way out they are published all the same, for the host's own programs
    let from = if graph.host.uplinks.is_empty() { "outside" } else { "uplink0" };
    for (at, one) in graph.containers.iter().enumerate() {
        for cable in &one.cables {
            let Some((of, network)) = network(graph, cable) else { continue };
            let line = if cable.host.is_some() && cable.inside.is_some() { "---" } else { "-.-" };
            let _ = writeln!(text, "  network{of} {line}|{}| container{at}", label(&of_cable(network, cable)));
        }
        let ports = ports(one);
        if !ports.is_empty() {
            let _ = writeln!(text, "  {from} -.->|{}| container{at}", label(&ports));
        }
    }
    for at in (0..graph.networks.len()).filter(|at| graph.networks[*at].bridge.is_none()) {
        let _ = writeln!(text, "  style network{at} stroke-dasharray: 5 5");
    }
    text
}

fn of_uplink(uplink: &Uplink) -> Vec<String> {
    let mut lines = vec![format!("uplink {}", link(&uplink.name, uplink.index))];
    lines.extend(uplink.mac.clone());
    lines.extend(uplink.addresses.iter().map(ToString::to_string));
    lines.extend(uplink.gateways.iter().map(|gateway| format!("default route via {gateway}")));
    lines
}

/// What stands in the box of a network.
pub(super) fn of_network(network: &Network) -> Vec<String> {
    let mut lines = vec![format!("network {}", network.name), way_out(network).to_owned()];
    lines.extend(words::of_network(network).into_iter().map(line));
    lines
}

/// What stands at a cable.
pub(super) fn of_cable(network: &Network, cable: &Cable) -> Vec<String> {
    let mut lines: Vec<String> = cable.host.iter().chain(&cable.inside).map(|end| link(&end.name, end.index)).collect();
    if lines.is_empty() {
        lines.push("no link".to_owned());
    }
    lines.extend(of_port(network, cable));
    lines
}

/// What stands in the box of a container, without its ports.
pub(super) fn of_container(one: &Container) -> Vec<String> {
    let mut lines = vec![one.name.clone(), format!("{}, {}", one.short(), one.state)];
    for cable in &one.cables {
        let inside = cable.inside.as_ref();
        lines.extend(inside.map(|end| [&*link(&end.name, end.index), end.mac.as_deref().unwrap_or("")].join(" ")));
        lines.extend(cable.addresses.iter().map(ToString::to_string));
    }
    lines.extend(one.routes.iter().map(|of| line(route(of))));
    lines
}

/// Lines in quotes. Mermaid takes HTML there, and `#` begins one of its own entities.
fn label(lines: &[String]) -> String {
    let mut text = String::new();
    for c in lines.join("\n").chars() {
        match c {
            '\n' => text.push_str("<br>"),
            '#' => text.push_str("#35;"),
            '"' => text.push_str("#quot;"),
            '<' => text.push_str("#lt;"),
            '>' => text.push_str("#gt;"),
            '&' => text.push_str("#amp;"),
            // of Markdown, and of formulas
            '`' | '\\' | '$' | '*' => _ = write!(text, "#{};", u32::from(c)),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::tests::graph;

    #[test]
    fn a_flowchart() {
        let text = draw(&graph(1, 1, false));
        assert!(text.starts_with("flowchart LR\n"), "{text}");
        for line in [
            "  subgraph host[\"host host, forwarding IPv4 on, IPv6 off\"]",
            "  uplink0 ---|\"masquerade\"| network0",
            "  network0 ---|\"mrv0123456700 (100)<br>eth0 (2)\"| container0",
            "  uplink0 -.->|\"#42;:8080 → 80/tcp<br>#42;:8081 → 80/tcp\"| container0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn no_name_ends_its_label() {
        assert_eq!(label(&["a\"]<b>&#c`".into(), "\u{7}d".into()]), "\"a#quot;]#lt;b#gt;#amp;#35;c#96;<br> d\"");
    }
}
