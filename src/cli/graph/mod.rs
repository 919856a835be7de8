//! `minirun network graph`: how a graph is drawn. All forms are pure text of the same data, and say the same with the
//! same [`words`].

mod boxes;
mod canvas;
mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;
mod words;

use super::ui;
use crate::error::{Error, Result};
use crate::ops::graph::{self, Cable, Container, Graph, Network};
use crate::state::Roots;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    Text,
    Mermaid,
    Dot,
    Svg,
    Json,
}

/// Draws these networks, or all.
pub(super) fn main(roots: &Roots, form: Form, names: &[String]) -> Result<u8> {
    let graph = graph::gather(roots, names)?;
    ui::print(&match form {
        Form::Text => text::draw(&graph),
        Form::Mermaid => mermaid::draw(&graph),
        Form::Dot => dot::draw(&graph),
        Form::Svg => svg::draw(&graph),
        Form::Json => json(&graph)?,
    })
    .map(|()| 0)
}

fn json(graph: &Graph) -> Result<String> {
    let text = serde_json::to_string_pretty(graph).map_err(|e| Error::internal(format!("the graph as JSON: {e}")))?;
    Ok(text + "\n")
}

/// At most this many characters; what is too long loses its middle, for names differ at their ends.
pub(super) fn clip(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let tail = most.saturating_sub(1) / 3;
    let head = most.saturating_sub(1 + tail);
    let kept = |(at, c): (usize, char)| (at < head || at >= length - tail).then_some(c);
    let (before, behind): (String, String) = (
        text.chars().enumerate().take(head).filter_map(kept).collect(),
        text.chars().enumerate().skip(length - tail).filter_map(kept).collect(),
    );
    format!("{before}…{behind}")
}

fn network<'a>(graph: &'a Graph, cable: &Cable) -> Option<(usize, &'a Network)> {
    graph.networks.iter().enumerate().find(|(_, network)| network.name == cable.network)
}

fn cables_of<'a>(graph: &'a Graph, network: &'a Network) -> impl Iterator<Item = (&'a Container, &'a Cable)> {
    let of = |one: &'a Container| one.cables.iter().map(move |cable| (one, cable));
    graph.containers.iter().flat_map(of).filter(|(_, cable)| cable.network == network.name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::words::{link, ports, route, way_out};
    use super::*;
    use crate::ops::graph::{Bridge, End, Host, Owner, Port, Route, Subnet, Uplink, Vlan, Way};

    fn end(name: &str, index: u32) -> End {
        End { name: name.into(), index, mac: Some(format!("02:6d:00:00:00:{index:02x}")) }
    }

    pub(in crate::cli::graph) fn port(listen: &str, to: &str) -> Port {
        let (listen, to) = (listen.parse().unwrap(), to.parse().unwrap());
        Port { network: "net0".into(), protocol: "tcp".into(), listen, to, live: true }
    }

    /// So many networks and containers; with `long` names and addresses, as long as they can be.
    pub(in crate::cli::graph) fn graph(networks: usize, containers: usize, long: bool) -> Graph {
        let pad =
            if long { "-of-the-long-name-that-somebody-has-given-it-for-a-reason".repeat(2) } else { String::new() };
        let subnet = |n: usize, v6: bool| -> String {
            match (v6, long) {
                (false, _) => format!("172.{}.", 18 + n),
                (true, true) => format!("fd12:3456:789a:{n}:aaaa:bbbb:cccc:"),
                (true, false) => format!("fd00:{n}::"),
            }
        };
        let net_of = |n: usize| Network {
            name: format!("net{n}{pad}"),
            id: format!("{n}").repeat(64),
            driver: "bridge".into(),
            mode: None,
            segment: format!("mr-01234567{n:02}"),
            segment_of: Owner::This,
            routed: true,
            internal: n == 1,
            leads_out: n != 1,
            masquerade: n == 0,
            masquerade_live: n == 0,
            isolated: false,
            proxy_arp: false,
            proxy_arp_live: false,
            vlan: None,
            trunk: Vec::new(),
            routes: Vec::new(),
            gate: None,
            subnets: vec![
                Subnet { net: format!("{}0.0/16", subnet(n, false)).parse().unwrap(), gateway: None },
                Subnet { net: format!("{}0/64", subnet(n, true)).parse().unwrap(), gateway: None },
            ],
            bridge: (n != 3).then(|| Bridge {
                name: format!("mr-01234567{n:02}"),
                index: 10 + n as u32,
                mac: Some(format!("02:6d:ff:00:00:{n:02x}")),
                mtu: 1500,
                up: true,
                addresses: vec![
                    format!("{}0.1/16", subnet(n, false)).parse().unwrap(),
                    format!("{}1/64", subnet(n, true)).parse().unwrap(),
                ],
            }),
        };
        let cable_of = |c: usize, n: usize, at: usize| Cable {
            network: format!("net{n}{pad}"),
            host: Some(end(
                &format!("mrv01234567{c:02}{}", if at == 0 { "" } else { "b" }),
                (100 + 10 * c + at) as u32,
            )),
            inside: Some(end(&format!("eth{at}"), 2 + at as u32)),
            addresses: vec![
                format!("{}0.{}/16", subnet(n, false), 2 + c).parse().unwrap(),
                format!("{}{:x}/64", subnet(n, true), 2 + c).parse().unwrap(),
            ],
            isolated: false,
            vlans: Vec::new(),
        };
        let container_of = |c: usize| {
            let mut of = vec![c % networks];
            if networks > 1 && c % 3 == 2 {
                of.push((c + 1) % networks);
            }
            of.retain(|n| *n != 3);
            Container {
                name: format!("web{c}{pad}"),
                id: format!("{c:x}").repeat(64)[..64].to_owned(),
                state: if c == 1 { "paused" } else { "running" }.into(),
                cables: of.iter().enumerate().map(|(at, n)| cable_of(c, *n, at)).collect(),
                routes: of
                    .iter()
                    .take(1)
                    .flat_map(|n| [format!("{}0.1", subnet(*n, false)), format!("{}1", subnet(*n, true))])
                    .map(|via| Route {
                        to: "0.0.0.0/0".parse().unwrap(),
                        via: Some(via.parse().unwrap()),
                        device: "eth0".into(),
                    })
                    .collect(),
                ports: (0..if c == 0 { 2 } else { c % 2 })
                    .flat_map(|p| {
                        let port_of = |at: &str, to: &str| port(&format!("{at}:{}", 8080 + 10 * c + p), to);
                        [port_of("0.0.0.0", "172.18.0.2:80"), port_of("[::]", "[fd00::2]:80")]
                    })
                    .collect(),
            }
        };
        Graph {
            host: Host {
                name: format!("host{pad}"),
                uplinks: vec![Uplink {
                    name: "eth0".into(),
                    index: 2,
                    mac: None,
                    addresses: vec![
                        "10.0.2.15/24".parse().unwrap(),
                        format!("{}f/64", subnet(9, true)).parse().unwrap(),
                    ],
                    gateways: vec!["10.0.2.2".parse().unwrap()],
                }],
                ip_forward: true,
                ipv6_forwarding: Some(false),
            },
            networks: (0..networks).map(net_of).collect(),
            containers: (0..containers).map(container_of).collect(),
        }
    }

    /// What is between containers, in all its kinds: a VLAN with the host's link into it and a trunk beside it, one where
    /// nobody reaches another, one of two subnets that the host answers for, and a link of the host's.
    pub(in crate::cli::graph) fn segments() -> Graph {
        let mut graph = graph(4, 3, false);
        let link = graph.networks[0].bridge.clone().unwrap();
        let [ten, quiet, near, lan] = &mut graph.networks[..] else { panic!() };
        (ten.vlan, ten.trunk, ten.segment_of) = (Some(10), vec![20, 30], Owner::Network("base".into()));
        let gate = Bridge { name: "mrl-0123456789".into(), index: 40, ..link.clone() };
        ten.gate = Some(gate);
        (quiet.isolated, near.proxy_arp, near.proxy_arp_live) = (true, true, true);
        near.subnets[1].net = "192.168.1.0/24".parse().unwrap();
        near.bridge.as_mut().unwrap().addresses[1] = "192.168.1.1/24".parse().unwrap();
        near.subnets[1].gateway = Some("192.168.1.1".parse().unwrap());
        near.routes = vec![
            Way { to: "192.168.2.0/24".parse().unwrap(), via: None },
            Way { to: "10.0.0.0/8".parse().unwrap(), via: Some("192.168.1.9".parse().unwrap()) },
        ];
        (lan.driver, lan.mode, lan.segment_of) = ("macvlan".into(), Some("private".into()), Owner::Host);
        (lan.segment, lan.routed) = ("eth0".into(), false);
        lan.bridge = Some(Bridge { name: "eth0".into(), index: 2, ..link });
        lan.subnets[0].gateway = Some("172.21.0.254".parse().unwrap());
        let [first, second, third] = &mut graph.containers[..] else { panic!() };
        first.cables[0].vlans = vec![Vlan { id: 10, tagged: false }, Vlan { id: 20, tagged: true }];
        second.cables[0].isolated = true;
        third.routes.push(Route { to: "192.168.2.0/24".parse().unwrap(), via: None, device: "eth0".into() });
        third.cables.truncate(1);
        let mut on_parent = third.cables[0].clone();
        (on_parent.network, on_parent.host) = ("net3".into(), Some(end("eth0", 2)));
        third.cables.push(on_parent);
        graph
    }

    /// Everything of a graph that each form has to say.
    pub(in crate::cli::graph) fn facts(graph: &Graph) -> Vec<String> {
        let mut facts = vec![graph.host.name.clone(), link("eth0", 2), "10.0.2.15/24".into(), "10.0.2.2".into()];
        for network in &graph.networks {
            facts.extend([network.name.clone(), way_out(network).to_owned()]);
            facts.extend(network.subnets.iter().map(|subnet| subnet.net.to_string()));
            facts.extend(network.bridge.iter().flat_map(|bridge| {
                let addresses = bridge.addresses.iter().map(|net| net.addr().to_string());
                addresses.chain([link(&bridge.name, bridge.index), bridge.mac.clone().unwrap()]).collect::<Vec<_>>()
            }));
        }
        for one in &graph.containers {
            facts.extend([one.name.clone(), one.short().to_owned(), one.state.clone()]);
            facts.extend(ports(one));
            facts.extend(one.routes.iter().map(|of| route(of).1));
            for cable in &one.cables {
                let ends = cable.host.iter().chain(&cable.inside).map(|end| link(&end.name, end.index));
                facts.extend(ends.chain(cable.addresses.iter().map(ToString::to_string)));
                facts.extend(cable.inside.iter().filter_map(|end| end.mac.clone()));
            }
        }
        facts
    }

    /// Each without what its form makes of some letters; a label stands apart from its value in the picture alone.
    fn forms(graph: &Graph) -> [(&'static str, String); 4] {
        let unescaped = |text: String| text.replace("&gt;", ">").replace("&amp;", "&").replace("#42;", "*");
        [
            ("text", text::draw(graph)),
            ("mermaid", unescaped(mermaid::draw(graph))),
            ("dot", dot::draw(graph)),
            ("svg", unescaped(svg::draw(graph))),
        ]
    }

    #[test]
    fn every_form_says_everything() {
        for (networks, containers) in [(1, 1), (3, 12), (4, 5)] {
            let graph = graph(networks, containers, false);
            for (form, text) in forms(&graph) {
                for fact in facts(&graph) {
                    assert!(text.contains(&fact), "{form} does not say {fact:?}:\n{text}");
                }
            }
        }
    }

    #[test]
    fn every_form_says_what_is_between_containers() {
        let graph = segments();
        for (form, text) in forms(&graph) {
            for fact in [
                "network base",
                "mrl-0123456789 (40)",
                "VLANs 20 30",
                "VLAN 10, tagged 20",
                "from each other",
                "isolated",
                "proxy ARP",
                "192.168.1.0/24",
                "192.168.1.1",
                "192.168.2.0/24 on the wire",
                "10.0.0.0/8 via 192.168.1.9",
                "192.168.2.0/24 dev eth0",
                "not routed here",
                "macvlan, mode private",
                "parent",
                "172.21.0.254, another router",
            ] {
                assert!(text.contains(fact), "{form} does not say {fact:?}:\n{text}");
            }
        }
    }

    #[test]
    fn a_long_name_keeps_its_ends() {
        assert_eq!((clip("web", 3).as_str(), clip("abcdefghij", 7).as_str()), ("web", "abcd…ij"));
    }
}
