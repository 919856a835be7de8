//! The parts of a drawing in SVG: text whose width is known, boxes, cables. No scripts, and only fonts that are there:
//! all that may be long is in a typeface whose letters are equally wide.

use std::fmt::Write as _;

/// A letter's width in thousandths of the size; fonts have 600 to 602, where they are monospaced.
const LETTER: usize = 605;

#[derive(Debug, Default)]
pub(super) struct Canvas {
    body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) w: usize,
    pub(super) h: usize,
}

impl Rect {
    pub(super) fn right(&self) -> usize {
        self.x + self.w
    }

    pub(super) fn bottom(&self) -> usize {
        self.y + self.h
    }
}

/// Which point of a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Start,
    Middle,
    End,
}

impl Canvas {
    /// `y` is the line that the letters stand on.
    pub(super) fn text(&mut self, (x, y): (usize, usize), at: At, class: &str, text: &str) {
        let anchor = match at {
            At::Start => "",
            At::Middle => " text-anchor=\"middle\"",
            At::End => " text-anchor=\"end\"",
        };
        let _ = writeln!(self.body, "<text x=\"{x}\" y=\"{y}\"{anchor} class=\"{class}\">{}</text>", escaped(text));
    }

    pub(super) fn rect(&mut self, Rect { x, y, w, h }: Rect, radius: usize, class: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{radius}\" class=\"{class}\"/>"
        );
    }

    /// A box's upper part, round at its two upper corners.
    pub(super) fn head(&mut self, Rect { x, y, w, h }: Rect, radius: usize, class: &str) {
        let (r, flat, down) = (radius, w - 2 * radius, h - radius);
        let _ = writeln!(
            self.body,
            "<path d=\"M{x} {bottom}v-{down}a{r} {r} 0 0 1 {r} -{r}h{flat}a{r} {r} 0 0 1 {r} {r}v{down}z\" class=\"{class}\"/>",
            bottom = y + h
        );
    }

    pub(super) fn circle(&mut self, (x, y): (usize, usize), radius: usize, class: &str) {
        let _ = writeln!(self.body, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" class=\"{class}\"/>");
    }

    pub(super) fn path(&mut self, path: &str, class: &str) {
        let _ = writeln!(self.body, "<path d=\"{path}\" class=\"{class}\"/>");
    }

    /// What a reader is told who asks for more: shown beside the mouse.
    pub(super) fn group(&mut self, title: &str, draw: impl FnOnce(&mut Canvas)) {
        let _ = writeln!(self.body, "<g><title>{}</title>", escaped(title));
        draw(self);
        self.body.push_str("</g>\n");
    }

    /// The whole file.
    pub(super) fn finish(self, width: usize, height: usize, title: &str, style: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" class=\"minirun\">\n\
             <title>{}</title>\n<style>\n{style}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

/// A line that leaves and arrives horizontally.
pub(super) fn curve((x, y): (usize, usize), (to_x, to_y): (usize, usize)) -> String {
    let middle = x.midpoint(to_x);
    format!("M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}")
}

/// Of a text of this size, in pixels.
pub(super) fn width(text: &str, size: usize) -> usize {
    (text.chars().count() * size * LETTER).div_ceil(1000)
}

/// How many letters of this size fit.
pub(super) fn letters(width: usize, size: usize) -> usize {
    width * 1000 / (size * LETTER)
}

/// XML has no control characters but these three, not even as entities.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_tag() {
        assert_eq!(escaped("<a b=\"c\">&'\n\u{7}"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39; \u{fffd}");
        let mut canvas = Canvas::default();
        canvas.group("</title>", |canvas| canvas.text((1, 2), At::End, "m", "</text>"));
        let file = canvas.finish(10, 10, "</title><script>", "");
        assert!(!file.contains("<script") && file.matches("</title>").count() == 2, "{file}");
    }

    #[test]
    fn what_fits_is_not_wider_than_its_place() {
        for place in [0, 7, 100, 333] {
            let fits = "m".repeat(letters(place, 12));
            assert!(width(&fits, 12) <= place + 1 && width(&format!("{fits}m"), 12) > place, "{place}");
        }
    }
}
