//! The graph as a picture: the outside, the host as a router, its bridges as switches, containers; each cable runs from
//! its socket on the switch to its socket on the container. Text stands in boxes alone and cables between them, so that
//! neither ever lies on the other.

use super::boxes::{Row, chips, plugs, router_word};
use super::canvas::{At, Canvas, Rect, curve, letters, width};
use super::clip;
use super::layout::{ALLEY, CHIP, Card, HEAD, LABEL, LETTERS, MARGIN, NAME, PAD, Plan, ROW, Switch, TEXT};
use super::words::{self, link, way_out};
use crate::ops::graph::{Cable, Graph};

/// Of networks: dark enough for white letters on them.
const COLOURS: [&str; super::layout::COLOURS] =
    ["#2563eb", "#c2410c", "#047857", "#7c3aed", "#be185d", "#0e7490", "#a16207", "#475569"];

/// Only inside of this picture: a page that has it may have others.
const STYLE: &str = "\
.minirun text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;fill:#0f172a}
.minirun .n{font-size:15px;font-weight:700}
.minirun .i{font-weight:700}
.minirun .l,.minirun .q{font-family:system-ui,'Segoe UI',Roboto,Helvetica,Arial,'DejaVu Sans',sans-serif}
.minirun .a,.minirun .l,.minirun .q{fill:#64748b}
.minirun .w{fill:#ffffff}
.minirun .f{fill:#f8fafc;stroke:#94a3b8;stroke-width:1.5}
.minirun .b{fill:#ffffff;stroke:#94a3b8;stroke-width:1.5}
.minirun .d{fill:#ffffff;stroke:#94a3b8;stroke-width:1.5;stroke-dasharray:6 4}
.minirun .h{fill:#334155}
.minirun .z{fill:#94a3b8}
.minirun .p{fill:#fef3c7;stroke:#d97706}
.minirun .r{fill:none;stroke:#cbd5e1}
.minirun .e{fill:none;stroke:#94a3b8;stroke-width:1.2}
.minirun .g{fill:#ffffff;stroke:#64748b;stroke-width:2.5}
.minirun .t{fill:none;stroke:#64748b;stroke-width:2.5}
.minirun .k{fill:none;stroke:#f8fafc;stroke-width:7}
.minirun .c{fill:none;stroke-width:2.5}
.minirun .s{fill:#ffffff;stroke-width:2.5}
.minirun .o{stroke-dasharray:7 5}
.minirun .up{fill:#16a34a}
.minirun .off{fill:#d97706}
";

pub(super) fn draw(graph: &Graph) -> String {
    let plan = (1..=4).map(|columns| Plan::of(graph, columns)).min_by_key(Plan::ugliness);
    let plan = plan.unwrap_or_else(|| Plan::of(graph, 1));
    let mut style = STYLE.to_owned();
    for (at, colour) in COLOURS.iter().enumerate() {
        style.push_str(&format!(".minirun .x{at}{{fill:{colour}}}\n.minirun .y{at}{{stroke:{colour}}}\n"));
    }
    let mut canvas = Canvas::default();
    plan.draw(&mut canvas);
    canvas.finish(plan.width, plan.height, &format!("networks of host {}", graph.host.name), &style)
}

const LEGEND: [&str; 2] = [
    "(n) is the number of a link, its ifindex: a cable has one at each end, on the host and in the container",
    "dashed: does not lead to the outside, or is not there yet; yellow: a published port of the host",
];

/// In a column of the outside, at the left of the host.
const GLOBE: usize = 34;

impl Plan<'_> {
    fn draw(&self, canvas: &mut Canvas) {
        canvas.rect(self.host, 14, "f");
        let title = format!("host {}", clip(&self.graph.host.name, LETTERS));
        let at = (self.host.x + MARGIN, self.host.y + 32);
        canvas.group(&self.graph.host.name, |canvas| canvas.text(at, At::Start, "n", &title));
        self.draw_outside(canvas);
        for switch in &self.switches {
            self.draw_trunk(canvas, switch);
        }
        for switch in &self.switches {
            self.draw_cables(canvas, switch);
        }
        self.draw_router(canvas);
        for switch in &self.switches {
            self.draw_switch(canvas, switch);
        }
        for card in &self.cards {
            self.draw_card(canvas, card);
        }
        for (line, text) in LEGEND.iter().enumerate() {
            canvas.text((self.host.x + MARGIN, self.host.bottom() + 22 + ROW * line), At::Start, "l", text);
        }
    }

    fn draw_outside(&self, canvas: &mut Canvas) {
        let Some(first) = self.uplinks.first() else { return };
        let (x, y) = (MARGIN + GLOBE, *first);
        for uplink in &self.uplinks {
            canvas.path(&curve((x + GLOBE, y), (self.router.x, *uplink)), "t");
        }
        canvas.circle((x, y), GLOBE, "g");
        let (left, top, bottom, r) = (x - GLOBE, y - GLOBE, y + GLOBE, GLOBE);
        for half in [r / 2, r] {
            let globe = format!("M{x} {top}A{half} {r} 0 0 0 {x} {bottom}M{x} {top}A{half} {r} 0 0 1 {x} {bottom}");
            canvas.path(&globe, "e");
        }
        canvas.path(&format!("M{x} {top}V{bottom}M{left} {y}h{}", 2 * r), "e");
        canvas.text((x, bottom + 20), At::Middle, "q", "outside");
    }

    fn draw_router(&self, canvas: &mut Canvas) {
        let at = self.router;
        canvas.rect(at, 8, "b");
        canvas.head(Rect { h: HEAD, ..at }, 8, "h");
        canvas.text((at.x + PAD, at.y + 22), At::Start, "n w", "routing and NAT");
        rows(canvas, at, at.y + HEAD + 6, &self.router_rows);
        for uplink in &self.uplinks {
            canvas.circle((at.x, *uplink), 5, "g");
        }
        for (switch, y) in self.switches.iter().filter_map(|switch| Some((switch, switch.router?))) {
            canvas.text((at.right() - PAD, y + 4), At::End, &format!("m x{}", switch.colour), &router_word(switch.of));
            canvas.circle((at.right(), y), 5, &format!("s y{}", switch.colour));
        }
    }

    /// From the host to a switch.
    fn draw_trunk(&self, canvas: &mut Canvas, switch: &Switch<'_>) {
        let Some(y) = switch.router else { return };
        let dashed = if switch.of.bridge.is_some() && switch.of.leads_out { "" } else { " o" };
        let path = curve((self.router.right(), y), (switch.at.x, switch.at.y + HEAD / 2));
        canvas.path(&path, &format!("c y{}{dashed}", switch.colour));
    }

    fn draw_cables(&self, canvas: &mut Canvas, switch: &Switch<'_>) {
        for (at, socket) in switch.sockets.iter().enumerate() {
            let from = (switch.at.right(), switch.socket(at));
            let path = match socket.lane {
                None => curve(from, socket.to),
                // beside the containers of the nearer columns, and to the height of its own at last
                Some(lane) => {
                    let (near, far) = (self.cards_left() - 16, socket.to.0 - ALLEY + 10);
                    let last = curve((far, lane), socket.to);
                    format!("{}H{far}{}", curve(from, (near, lane)), &last[last.find('C').unwrap_or(0)..])
                }
            };
            canvas.path(&path, "k"); // what it crosses lies below it
            canvas.path(&path, &format!("c y{}", switch.colour));
        }
    }

    fn draw_switch(&self, canvas: &mut Canvas, switch: &Switch<'_>) {
        let (at, of) = (switch.at, switch.of);
        let (body, head) = match of.bridge {
            Some(_) => ("b", format!("x{}", switch.colour)),
            None => ("d", "z".to_owned()),
        };
        canvas.rect(at, 8, body);
        canvas.head(Rect { h: HEAD, ..at }, 8, &head);
        let word = if of.leads_out && of.routed { "network" } else { way_out(of) };
        let room = letters(at.w - 3 * PAD - width(word, TEXT), NAME);
        canvas.group(&of.name, |canvas| {
            canvas.text((at.x + PAD, at.y + 22), At::Start, "n w", &clip(&of.name, room));
        });
        canvas.text((at.right() - PAD, at.y + 22), At::End, "m w", word);
        rows(canvas, at, at.y + HEAD + 6, &switch.rows);
        if switch.router.is_some() {
            canvas.circle((at.x, at.y + HEAD / 2), 5, &format!("s y{}", switch.colour));
        }
        if let Some(first) = (!switch.sockets.is_empty()).then(|| switch.socket(0)) {
            canvas.path(&format!("M{} {}h{}", at.x + PAD, first - 14, at.w - 2 * PAD), "r");
        }
        for (index, socket) in switch.sockets.iter().enumerate() {
            let y = switch.socket(index);
            canvas.text((at.right() - PAD, y + 4), At::End, "m", &socket.word);
            canvas.circle((at.right(), y), 5, &format!("s y{}", switch.colour));
        }
    }

    fn draw_card(&self, canvas: &mut Canvas, card: &Card<'_>) {
        let (at, of) = (card.at, card.of);
        canvas.rect(at, 8, "b");
        let state = width(&of.state, TEXT) + 20;
        let room = letters(at.w - 2 * PAD - state, NAME);
        canvas.group(&of.name, |canvas| {
            canvas.text((at.x + PAD, at.y + 24), At::Start, "n", &clip(&of.name, room));
        });
        canvas.text((at.right() - PAD, at.y + 24), At::End, "m", &of.state);
        let lamp = if of.state == "running" { "up" } else { "off" };
        canvas.circle((at.right() - PAD - state + 12, at.y + 20), 4, lamp);
        canvas.text((at.x + PAD, at.y + 42), At::Start, "m a", of.short());
        canvas.path(&format!("M{} {}h{}", at.x, at.y + 52, at.w), "r");
        for (cable, y) in of.cables.iter().zip(plugs(of)) {
            self.draw_plug(canvas, at, at.y + y, cable);
        }
        let mut y = card.routes_at();
        for route in &of.routes {
            let (what, value) = words::route(route);
            label(canvas, (at.x + PAD, y + 13), what);
            canvas.text((at.x + PAD + LABEL, y + 13), At::Start, "m", &value);
            y += ROW;
        }
        for (x, line, text) in chips(&card.ports, at.w) {
            let chip = Rect { x: at.x + x, y: y + 4 + CHIP * line, w: width(&text, TEXT) + 12, h: CHIP - 4 };
            canvas.rect(chip, 10, "p");
            canvas.text((chip.x + 6, chip.y + 14), At::Start, "m", &text);
        }
    }

    /// A container's end of a cable: its link, and the addresses that it has.
    fn draw_plug(&self, canvas: &mut Canvas, at: Rect, y: usize, cable: &Cable) {
        let colour = self.switches.iter().find(|switch| switch.of.name == cable.network).map_or(0, |of| of.colour);
        let name = cable.inside.as_ref().map_or_else(|| "no link".to_owned(), |end| link(&end.name, end.index));
        let mac = cable.inside.as_ref().and_then(|end| end.mac.as_deref()).unwrap_or_default();
        canvas.text((at.x + PAD, y + 4), At::Start, "m i", &name);
        canvas.text((at.x + PAD + LABEL, y + 4), At::Start, "m a", mac);
        let room = letters(at.w - 3 * PAD - LABEL - width(mac, TEXT), TEXT);
        let network = clip(&cable.network, room.min(LETTERS));
        canvas.text((at.right() - PAD, y + 4), At::End, &format!("m x{colour}"), &network);
        for (line, address) in cable.addresses.iter().enumerate() {
            let y = y + 4 + ROW * (line + 1);
            canvas.text((at.x + PAD + LABEL, y), At::Start, "m", &address.to_string());
        }
        if cable.host.is_some() {
            canvas.circle((at.x, y), 5, &format!("s y{colour}"));
        }
    }
}

fn rows(canvas: &mut Canvas, at: Rect, top: usize, rows: &[Row]) {
    for (line, row) in rows.iter().enumerate() {
        let y = top + ROW * line + 13;
        label(canvas, (at.x + PAD, y), row.label);
        canvas.text((at.x + PAD + LABEL, y), At::Start, "m", &row.value);
    }
}

fn label(canvas: &mut Canvas, at: (usize, usize), text: &str) {
    if !text.is_empty() {
        canvas.text(at, At::Start, "l", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::graph::tests::graph;

    #[test]
    fn a_picture_is_one_file_that_needs_nothing() {
        let text = draw(&graph(3, 12, true));
        assert!(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 "), "{text}");
        for bad in ["<script", "href", "url(", "@import", "font-face"] {
            assert!(!text.contains(bad), "{bad}");
        }
    }

    #[test]
    fn a_cable_leads_from_each_socket_to_a_container() {
        let graph = graph(3, 12, false);
        let cables: usize = graph.containers.iter().map(|one| one.cables.len()).sum();
        assert_eq!(draw(&graph).matches("class=\"k\"").count(), cables);
        assert_eq!(cables, 16);
    }
}
