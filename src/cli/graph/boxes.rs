//! What stands in the boxes of the picture, and how large they are for it. They have no place yet.

use super::canvas::{Rect, width};
use super::layout::{CHIP, COLOURS, Card, HEAD, LABEL, LETTERS, NAME, PAD, ROW, SOCKET, Switch, TEXT};
use super::words::{self, Said, forwarding, link, of_port, ports, way_out};
use super::{cables_of, clip};
use crate::ops::graph::{Cable, Container, Graph, Network};

/// Of the published ports: more would be a list, and no picture.
const PORTS: usize = 8;
/// Of a value, which may have another network's name in it; the longest address has fewer.
const VALUE: usize = 48;
/// A container's name, id and state.
const CARD_HEAD: usize = 52;
/// A line in a box: what it says, and of what.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) value: String,
}

fn row(label: &'static str, value: impl Into<String>) -> Row {
    Row { label, value: value.into() }
}

fn of_words((label, value): Said) -> Row {
    Row { label, value: clip(&value, VALUE) }
}

/// What the router's side says of a network.
pub(super) fn router_word(network: &Network) -> String {
    let name = clip(&network.name, LETTERS);
    match &network.bridge {
        Some(parent) if !network.routed => format!("{} · {name}", link(&parent.name, parent.index)),
        _ => format!("{} · {name}", way_out(network)),
    }
}

/// What a switch says of a cable; `None` where it is not plugged in.
pub(super) fn socket_word(network: &Network, cable: &Cable) -> Option<String> {
    let end = link(&cable.host.as_ref()?.name, cable.host.as_ref()?.index);
    Some(of_port(network, cable).map_or_else(|| end.clone(), |port| format!("{port} · {end}")))
}

/// And the numbers of those of the uplinks.
pub(super) fn router_rows(graph: &Graph) -> (Vec<Row>, Vec<usize>) {
    let mut rows = vec![row("forwarding", forwarding(graph))];
    let mut lines = Vec::new();
    for uplink in &graph.host.uplinks {
        lines.push(rows.len());
        rows.push(row("uplink", link(&uplink.name, uplink.index)));
        rows.extend(uplink.addresses.iter().map(|address| row("", address.to_string())));
        rows.extend(uplink.gateways.iter().map(|gateway| row("default via", gateway.to_string())));
    }
    if lines.is_empty() {
        rows.push(row("uplink", "no default route"));
    }
    let published: Vec<String> = graph
        .containers
        .iter()
        .flat_map(|one| {
            ports(one).into_iter().map(|port| port.replace("→ ", &format!("→ {} ", clip(&one.name, LETTERS))))
        })
        .collect();
    for (at, port) in published.iter().take(PORTS).enumerate() {
        rows.push(row(if at == 0 { "published" } else { "" }, port.clone()));
    }
    if published.len() > PORTS {
        rows.push(row("", format!("and {} more", published.len() - PORTS)));
    }
    (rows, lines)
}

/// Their sizes, all equally wide; they have no place yet.
pub(super) fn switches(graph: &Graph) -> Vec<Switch<'_>> {
    let mut switches: Vec<Switch<'_>> =
        graph.networks.iter().enumerate().map(|(at, of)| switch(graph, at, of)).collect();
    let widest = switches.iter().map(|switch| switch.at.w).max().unwrap_or(0);
    switches.iter_mut().for_each(|switch| switch.at.w = widest);
    switches
}

fn switch<'a>(graph: &'a Graph, at: usize, of: &'a Network) -> Switch<'a> {
    let rows: Vec<Row> = words::of_network(of).into_iter().map(of_words).collect();
    let sockets: Vec<usize> =
        cables_of(graph, of).filter_map(|(_, cable)| Some(width(&socket_word(of, cable)?, TEXT))).collect();
    let inside = rows.iter().map(|row| LABEL + width(&row.value, TEXT));
    let head = width(&clip(&of.name, LETTERS), NAME) + 2 * PAD + width("masquerade (missing)", TEXT);
    let w = inside.chain(sockets.iter().copied()).chain([head]).max().unwrap_or(0) + 2 * PAD;
    let h = HEAD + 6 + ROW * rows.len() + if sockets.is_empty() { 0 } else { 10 + SOCKET * sockets.len() } + PAD;
    Switch { of, colour: at % COLOURS, at: Rect { x: 0, y: 0, w, h }, rows, sockets: Vec::new(), router: None }
}

/// Their sizes, all equally wide, in an order in which those of a network are together.
pub(super) fn cards(graph: &Graph) -> Vec<Card<'_>> {
    let place = |one: &Container| {
        let of = |name: &str| graph.networks.iter().position(|network| network.name == name).unwrap_or(0);
        let sum: usize = one.cables.iter().map(|cable| 100 * of(&cable.network)).sum();
        sum / one.cables.len().max(1)
    };
    let mut containers: Vec<&Container> = graph.containers.iter().collect();
    containers.sort_by_key(|one| place(one)); // by name where that is the same
    let w = containers.iter().map(|one| card_width(one)).max().unwrap_or(0);
    containers
        .into_iter()
        .map(|of| {
            let mut ports = ports(of);
            if ports.len() > PORTS {
                let more = format!("and {} more", ports.len() - PORTS);
                ports.truncate(PORTS);
                ports.push(more);
            }
            let lines = chips(&ports, w).last().map_or(0, |(_, line, _)| line + 1);
            let chips = if lines > 0 { 4 + CHIP * lines } else { 0 };
            let h = routes(of) + ROW * of.routes.len() + chips + PAD - 2;
            Card { of, at: Rect { x: 0, y: 0, w, h }, ports }
        })
        .collect()
}

pub(super) fn card_width(one: &Container) -> usize {
    let head = width(&clip(&one.name, LETTERS), NAME) + width(&one.state, TEXT) + 2 * PAD;
    let plug = one.cables.iter().flat_map(|cable| {
        let mac = cable.inside.as_ref().and_then(|end| end.mac.as_deref()).unwrap_or_default();
        let network = clip(&cable.network, LETTERS / 2);
        let addresses = cable.addresses.iter().map(|address| width(&address.to_string(), TEXT));
        addresses.chain([width(mac, TEXT) + PAD + width(&network, TEXT)]).map(|w| LABEL + w).collect::<Vec<_>>()
    });
    let routes = one.routes.iter().map(|route| LABEL + width(&words::route(route).1, TEXT));
    let chips = ports(one).into_iter().map(|port| width(&port, TEXT) + PAD);
    plug.chain(routes).chain(chips).chain([head]).max().unwrap_or(0) + 2 * PAD
}

/// The height of each plug, from the card's top.
pub(super) fn plugs(one: &Container) -> Vec<usize> {
    let mut y = CARD_HEAD + 16;
    let heights = one.cables.iter().map(|cable| {
        let at = y;
        y += ROW * (1 + cable.addresses.len()) + 6;
        at
    });
    heights.collect()
}

/// Where the default routes begin, from the card's top.
pub(super) fn routes(one: &Container) -> usize {
    CARD_HEAD + 4 + one.cables.iter().map(|cable| ROW * (1 + cable.addresses.len()) + 6).sum::<usize>()
}

/// Side by side as far as they fit: the place from the card's left side, the line, the text.
pub(super) fn chips(ports: &[String], card: usize) -> Vec<(usize, usize, String)> {
    let (mut x, mut line) = (PAD, 0);
    let mut placed = Vec::new();
    for port in ports {
        let w = width(port, TEXT) + 12;
        if x > PAD && x + w > card - PAD {
            (x, line) = (PAD, line + 1);
        }
        placed.push((x, line, port.clone()));
        x += w + 6;
    }
    placed
}
