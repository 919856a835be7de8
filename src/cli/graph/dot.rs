//! The graph for graphviz: `minirun network graph --format dot | dot -Tpdf`.

use super::mermaid::{of_cable, of_container, of_network};
use super::network;
use super::words::{forwarding, link, ports, way_out};
use crate::ops::graph::Graph;
use std::fmt::Write as _;

pub(super) fn draw(graph: &Graph) -> String {
    let mut text = String::from(
        "graph minirun {
  graph [rankdir=LR, ranksep=1.2, fontname=\"sans-serif\"];
  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"monospace\", fontsize=10];
  edge [fontname=\"monospace\", fontsize=9];
  outside [shape=ellipse];
",
    );
    let title = [format!("host {}", graph.host.name), format!("forwarding {}", forwarding(graph))];
    let _ = writeln!(text, "  subgraph cluster_host {{\n    label={};\n    style=rounded;", label(&title));
    for (at, uplink) in graph.host.uplinks.iter().enumerate() {
        let mut lines = vec![format!("uplink {}", link(&uplink.name, uplink.index))];
        lines.extend(uplink.mac.clone());
        lines.extend(uplink.addresses.iter().map(ToString::to_string));
        lines.extend(uplink.gateways.iter().map(|gateway| format!("default route via {gateway}")));
        let _ = writeln!(text, "    uplink{at} [fillcolor=lightgrey, label={}];", label(&lines));
    }
    for (at, network) in graph.networks.iter().enumerate() {
        let style = if network.bridge.is_some() { "filled" } else { "\"filled,dashed\"" };
        let label = label(&of_network(network));
        let _ = writeln!(text, "    network{at} [style={style}, fillcolor=lightblue, label={label}];");
    }
    for (at, one) in graph.containers.iter().enumerate() {
        let _ = writeln!(text, "    container{at} [label={}];", label(&of_container(one)));
    }
    text.push_str("  }\n");
    for at in 0..graph.host.uplinks.len() {
        let _ = writeln!(text, "  outside -- uplink{at};");
    }
    for (at, network) in graph.networks.iter().enumerate().filter(|(_, network)| network.leads_out) {
        for uplink in 0..graph.host.uplinks.len() {
            let style = if network.masquerade { "bold" } else { "solid" };
            let label = label(&[way_out(network).to_owned()]);
            let _ = writeln!(text, "  uplink{uplink} -- network{at} [style={style}, label={label}];");
        }
    }
    // where there is no way out they are published all the same, for the host's own programs
    let from = if graph.host.uplinks.is_empty() { "outside" } else { "uplink0" };
    for (at, one) in graph.containers.iter().enumerate() {
        for cable in &one.cables {
            let Some((of, network)) = network(graph, cable) else { continue };
            let style = if cable.host.is_some() && cable.inside.is_some() { "solid" } else { "dotted" };
            let label = label(&of_cable(network, cable));
            let _ = writeln!(text, "  network{of} -- container{at} [style={style}, label={label}];");
        }
        let ports = ports(one);
        if !ports.is_empty() {
            let label = label(&ports);
            let _ = writeln!(
                text,
                "  {from} -- container{at} [style=dashed, dir=forward, constraint=false, label={label}];"
            );
        }
    }
    text.push_str("}\n");
    text
}

/// Lines in quotes, each in the middle.
fn label(lines: &[String]) -> String {
    let mut text = String::new();
    for c in lines.join("\n").chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '"' | '\\' => text.extend(['\\', c]),
            // in a label dot reads entities of HTML
            '&' => text.push_str("&amp;"),
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
    fn a_graph_of_boxes_and_cables() {
        let text = draw(&graph(4, 1, false));
        for line in [
            "    label=\"host host\\nforwarding IPv4 on, IPv6 off\";",
            "  uplink0 -- network0 [style=bold, label=\"masquerade\"];",
            "  network0 -- container0 [style=solid, label=\"mrv0123456700 (100)\\neth0 (2)\"];",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("-- network1"), "{text}"); // it is internal
        assert_eq!(text.matches("dashed").count(), 2); // one has no bridge, one has a port
    }

    #[test]
    fn no_name_ends_its_label() {
        assert_eq!(label(&["a\"]\\".into(), "<b>&".into()]), r#""a\"]\\\n<b>&amp;""#);
    }
}
