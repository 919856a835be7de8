//! Where everything in the picture is: in columns from left to right the outside, the router, the switches, and as many
//! columns of containers as make it as wide as a slide. Numbers alone; nothing is drawn here.

use super::boxes::{Row, cards, plugs, router_rows, router_word, routes, socket_word, switches};
use super::canvas::{Rect, width};
use super::words::addresses;
use crate::ops::graph::{Container, Graph, Network};
use std::cmp::Reverse;

/// Sizes of letters.
pub(super) const TEXT: usize = 12;
pub(super) const NAME: usize = 15;
/// A line of text in a box, a box's head, and its margin.
pub(super) const ROW: usize = 18;
pub(super) const HEAD: usize = 34;
pub(super) const PAD: usize = 12;
/// Where the values begin, behind their labels.
pub(super) const LABEL: usize = 78;
/// Of a name: what is longer loses its middle.
pub(super) const LETTERS: usize = 24;
/// Around the picture, and around what is in the host.
pub(super) const MARGIN: usize = 28;
/// A published port in its frame.
pub(super) const CHIP: usize = 24;
pub(super) const COLOURS: usize = 8;
/// Room for the outside, at the left of the host.
const OUTSIDE: usize = 100;
/// Between the boxes: from the router to the switches, from these to the containers, and between those.
const TRUNK: usize = 90;
const CABLES: usize = 150;
pub(super) const ALLEY: usize = 72;
const BETWEEN: usize = 26;
/// Between cables that run side by side to a farther column.
const LANE: usize = 9;
/// A socket of a switch or of the router.
pub(super) const SOCKET: usize = 22;
/// Above and below what is in the host.
const TITLE: usize = 48;
const LEGEND: usize = 56;

#[derive(Debug)]
pub(super) struct Switch<'a> {
    pub(super) of: &'a Network,
    pub(super) colour: usize,
    pub(super) at: Rect,
    pub(super) rows: Vec<Row>,
    /// From top to bottom.
    pub(super) sockets: Vec<Socket>,
    /// Where on the router's right side its line begins; `None` where the host is not in it.
    pub(super) router: Option<usize>,
}

/// The host's end of a cable, on the right side of a switch.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) word: String,
    /// The container's end.
    pub(super) to: (usize, usize),
    /// At this height it passes the nearer columns.
    pub(super) lane: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Card<'a> {
    pub(super) of: &'a Container,
    pub(super) at: Rect,
    pub(super) ports: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) graph: &'a Graph,
    pub(super) router: Rect,
    pub(super) router_rows: Vec<Row>,
    /// Heights on the router's left side.
    pub(super) uplinks: Vec<usize>,
    pub(super) switches: Vec<Switch<'a>>,
    pub(super) cards: Vec<Card<'a>>,
    pub(super) host: Rect,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Switch<'_> {
    /// The height of its `index`th socket.
    pub(super) fn socket(&self, index: usize) -> usize {
        self.at.y + HEAD + 6 + ROW * self.rows.len() + 24 + SOCKET * index
    }
}

impl Card<'_> {
    /// Where the default routes begin; the ports come behind them.
    pub(super) fn routes_at(&self) -> usize {
        self.at.y + routes(self.of)
    }
}

impl<'a> Plan<'a> {
    /// With so many columns of containers.
    pub(super) fn of(graph: &'a Graph, columns: usize) -> Plan<'a> {
        let mut cards = cards(graph);
        let lanes = place_cards(&mut cards, columns);
        let mut switches = switches(graph);
        let (router_rows, uplinks) = router_rows(graph);
        let joined = switches.iter().filter(|switch| is_joined(switch.of)).count();
        let router_width = router_rows
            .iter()
            .map(|row| LABEL + width(&row.value, TEXT))
            .chain(switches.iter().map(|switch| width(&router_word(switch.of), TEXT)).chain([200]));
        let mut router = Rect {
            x: MARGIN + OUTSIDE + 2 * MARGIN,
            y: 0,
            w: router_width.max().unwrap_or(0) + 2 * PAD,
            h: HEAD + 6 + ROW * router_rows.len() + PAD + SOCKET * joined + PAD / 2,
        };
        let stack: usize = switches.iter().map(|switch| switch.at.h + BETWEEN).sum::<usize>().saturating_sub(BETWEEN);
        let all = cards.iter().map(|card| card.at.bottom()).max().unwrap_or(0);
        let (top, tallest) = (MARGIN + TITLE, stack.max(all).max(router.h));
        router.y = top + (tallest - router.h) / 2;
        let spare = (tallest - stack) / (switches.len() + 1);
        let mut y = top + spare;
        for switch in &mut switches {
            switch.at = Rect { x: router.right() + TRUNK, y, ..switch.at };
            y += switch.at.h + BETWEEN + spare;
        }
        let first = router.bottom().saturating_sub(SOCKET * joined + PAD / 2) + SOCKET / 2;
        switches.iter_mut().filter(|switch| is_joined(switch.of)).enumerate().for_each(|(at, switch)| {
            switch.router = Some(first + SOCKET * at);
        });
        let right = switches.iter().map(|switch| switch.at.right()).max().unwrap_or(router.right());
        for card in &mut cards {
            card.at.x += right + CABLES;
            card.at.y += top + (tallest - all) / 2;
        }
        let lanes: Vec<Lane> =
            lanes.into_iter().map(|lane| Lane { y: lane.y + top + (tallest - all) / 2, ..lane }).collect();
        switches.iter_mut().for_each(|switch| plug(switch, &cards, &lanes));
        let right = cards.iter().map(|card| card.at.right()).max().unwrap_or(right) + MARGIN;
        let host = Rect { x: MARGIN + OUTSIDE, y: MARGIN, w: right - MARGIN - OUTSIDE, h: TITLE + tallest + MARGIN };
        let uplinks = uplinks.iter().map(|line| router.y + HEAD + 6 + ROW * line + 9).collect();
        let (width, height) = (right + MARGIN, host.bottom() + LEGEND);
        Plan { graph, router, router_rows, uplinks, switches, cards, host, width, height }
    }

    /// How far it is from a slide's form, 16 to 9.
    pub(super) fn ugliness(&self) -> usize {
        (self.width * 9).abs_diff(self.height * 16)
    }

    pub(super) fn cards_left(&self) -> usize {
        self.cards.iter().map(|card| card.at.x).min().unwrap_or(self.width)
    }
}

/// The host is in it, or will be.
fn is_joined(network: &Network) -> bool {
    match &network.bridge {
        Some(_) => !addresses(network).is_empty() || network.driver != "bridge",
        None => network.leads_out && network.routed,
    }
}

/// The way of a cable to a farther column: above the row of its container.
#[derive(Debug)]
struct Lane {
    card: usize,
    cable: usize,
    y: usize,
}

/// Gives the cards their places, row by row, from (0, 0) on.
fn place_cards(cards: &mut [Card<'_>], columns: usize) -> Vec<Lane> {
    let mut lanes = Vec::new();
    let mut y = 0;
    for (at, row) in cards.chunks_mut(columns).enumerate() {
        // those that go farthest are the highest, so that none crosses another where it comes down
        let mut far: Vec<(usize, usize)> = row
            .iter()
            .enumerate()
            .skip(1)
            .flat_map(|(c, card)| (0..card.of.cables.len()).map(move |n| (c, n)))
            .collect();
        far.sort_by_key(|(column, cable)| (Reverse(*column), *cable));
        if at > 0 {
            y += BETWEEN;
        }
        for (column, cable) in far {
            lanes.push(Lane { card: at * columns + column, cable, y });
            y += LANE;
        }
        if row.len() > 1 {
            y += BETWEEN / 2;
        }
        for (column, card) in row.iter_mut().enumerate() {
            (card.at.x, card.at.y) = (column * (card.at.w + ALLEY), y);
        }
        y += row.iter().map(|card| card.at.h).max().unwrap_or(0);
    }
    lanes
}

/// Gives a switch its sockets, in the order in which their cables arrive.
fn plug(switch: &mut Switch<'_>, cards: &[Card<'_>], lanes: &[Lane]) {
    for (at, card) in cards.iter().enumerate() {
        for (index, (cable, y)) in card.of.cables.iter().zip(plugs(card.of)).enumerate() {
            let of = (cable.network == switch.of.name).then_some(switch.of);
            let Some(word) = of.and_then(|of| socket_word(of, cable)) else { continue };
            let lane = lanes.iter().find(|lane| (lane.card, lane.cable) == (at, index)).map(|lane| lane.y);
            let to = (card.at.x, card.at.y + y);
            switch.sockets.push(Socket { word, to, lane });
        }
    }
    switch.sockets.sort_by_key(|socket| socket.lane.unwrap_or(socket.to.1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::boxes::{card_width, chips};
    use crate::cli::graph::tests::{graph, segments};

    fn apart(a: &Rect, b: &Rect) -> bool {
        a.right() < b.x || b.right() < a.x || a.bottom() < b.y || b.bottom() < a.y
    }

    #[test]
    fn no_box_lies_on_another_and_none_sticks_out() {
        let sizes =
            [(1, 1, false), (1, 12, false), (3, 1, true), (3, 12, true), (3, 12, false), (5, 40, true), (2, 0, false)];
        let plain = sizes.map(|(networks, containers, long)| graph(networks, containers, long));
        for graph in plain.into_iter().chain([segments()]) {
            for columns in 1..=4 {
                let plan = Plan::of(&graph, columns);
                let switches = plan.switches.iter().map(|switch| switch.at);
                let boxes: Vec<Rect> =
                    switches.chain(plan.cards.iter().map(|card| card.at)).chain([plan.router]).collect();
                for (at, one) in boxes.iter().enumerate() {
                    assert!(one.x >= plan.host.x && one.right() <= plan.host.right(), "{one:?} {:?}", plan.host);
                    assert!(
                        one.y >= plan.host.y + TITLE && one.bottom() <= plan.host.bottom(),
                        "{one:?} {:?}",
                        plan.host
                    );
                    assert!(boxes[..at].iter().all(|other| apart(one, other)), "{one:?} of {boxes:?}");
                }
                for switch in &plan.switches {
                    for (at, socket) in switch.sockets.iter().enumerate() {
                        assert!(switch.socket(at) < switch.at.bottom(), "{switch:?}");
                        let passes =
                            |card: &&Card<'_>| socket.lane.is_some_and(|y| (card.at.y..card.at.bottom()).contains(&y));
                        assert_eq!(plan.cards.iter().find(passes).map(|card| card.at), None, "{socket:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_text_is_wider_than_its_box() {
        for graph in [graph(1, 1, true), graph(3, 12, true), segments()] {
            let plan = Plan::of(&graph, 2);
            let fits =
                |rows: &[Row], at: Rect| rows.iter().all(|row| LABEL + width(&row.value, TEXT) + 2 * PAD <= at.w);
            assert!(fits(&plan.router_rows, plan.router));
            assert!(plan.switches.iter().all(|switch| fits(&switch.rows, switch.at)));
            for switch in &plan.switches {
                assert!(switch.sockets.iter().all(|socket| width(&socket.word, TEXT) + 2 * PAD <= switch.at.w));
            }
            for card in &plan.cards {
                assert!(card_width(card.of) <= card.at.w);
                for (x, line, text) in chips(&card.ports, card.at.w) {
                    assert!(x + width(&text, TEXT) + 12 + PAD <= card.at.w, "{text}");
                    assert!(card.routes_at() + ROW * card.of.routes.len() + 4 + CHIP * (line + 1) <= card.at.bottom());
                }
            }
        }
    }
}
