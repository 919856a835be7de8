//! `minirun network graph`: how a graph is drawn. All forms are pure text of the same data, and say the same with the
//! same words, which are here.

mod canvas;
mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;

use super::ui;
use crate::error::{Error, Result};
use crate::ops::graph::{self, Cable, Container, Graph, Network, Port, Route};
use crate::state::Roots;
use std::collections::BTreeMap;

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

/// A link and its ifindex.
fn link(name: &str, index: u32) -> String {
    format!("{name} ({index})")
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

/// Whether this host passes packets on.
fn forwarding(graph: &Graph) -> String {
    let on = |on| if on { "on" } else { "off" };
    let ipv6 = graph.host.ipv6_forwarding.map(|ipv6| format!(", IPv6 {}", on(ipv6))).unwrap_or_default();
    format!("IPv4 {}{ipv6}", on(graph.host.ip_forward))
}

/// What becomes of packets that leave a network.
fn way_out(network: &Network) -> &'static str {
    match (network.leads_out, network.masquerade) {
        (true, true) if network.bridge.is_some() && !network.masquerade_live => "masquerade (missing)",
        (true, true) => "masquerade",
        (true, false) => "no masquerade",
        (false, _) if network.internal => "internal",
        (false, _) => "no gateway",
    }
}

/// Why a network has no bridge.
const NOT_YET: &str = "no bridge yet: its first container makes it";

fn network<'a>(graph: &'a Graph, cable: &Cable) -> Option<(usize, &'a Network)> {
    graph.networks.iter().enumerate().find(|(_, network)| network.name == cable.network)
}

fn cables_of<'a>(graph: &'a Graph, network: &'a Network) -> impl Iterator<Item = (&'a Container, &'a Cable)> {
    let of = |one: &'a Container| one.cables.iter().map(move |cable| (one, cable));
    graph.containers.iter().flat_map(of).filter(|(_, cable)| cable.network == network.name)
}

/// `172.18.0.1 dev eth0`
fn via(route: &Route) -> String {
    let via = route.via.map(|via| format!("{via} ")).unwrap_or_default();
    format!("{via}dev {}", route.device)
}

/// A container's published ports, `*:8080 → 80/tcp` each: both families are one word, and so are ports that follow
/// one another. What the host's table does not have is said to be missing.
fn ports(container: &Container) -> Vec<String> {
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
pub(super) mod tests {
    use super::*;
    use crate::ops::graph::{Bridge, End, Host, Subnet, Uplink};

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
            internal: n == 1,
            leads_out: n != 1,
            masquerade: n == 0,
            masquerade_live: n == 0,
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
                    .map(|via| Route { via: Some(via.parse().unwrap()), device: "eth0".into() })
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
            facts.extend(one.routes.iter().map(via));
            for cable in &one.cables {
                let ends = cable.host.iter().chain(&cable.inside).map(|end| link(&end.name, end.index));
                facts.extend(ends.chain(cable.addresses.iter().map(ToString::to_string)));
                facts.extend(cable.inside.iter().filter_map(|end| end.mac.clone()));
            }
        }
        facts
    }

    #[test]
    fn every_form_says_everything() {
        for (networks, containers) in [(1, 1), (3, 12), (4, 5)] {
            let graph = graph(networks, containers, false);
            let unescaped = |text: String| text.replace("&gt;", ">").replace("&amp;", "&").replace("#42;", "*");
            for (form, text) in [
                ("text", text::draw(&graph)),
                ("mermaid", unescaped(mermaid::draw(&graph))),
                ("dot", dot::draw(&graph)),
                ("svg", unescaped(svg::draw(&graph))),
            ] {
                for fact in facts(&graph) {
                    assert!(text.contains(&fact), "{form} does not say {fact:?}:\n{text}");
                }
            }
        }
    }

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
    fn a_long_name_keeps_its_ends() {
        assert_eq!((clip("web", 3).as_str(), clip("abcdefghij", 7).as_str()), ("web", "abcd…ij"));
    }
}
