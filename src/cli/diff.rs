//! `minirun diff`.

use super::{caller, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::files::tree;
use crate::ops::inside::difference::{self, Change, DiffRequest, Difference, PackageChange, Times};
use crate::state::Roots;
use serde_json::{Value, json};

/// List what a container has changed in its image, or what is different in two root file systems
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minirun diff CONTAINER
       minirun diff [OPTIONS] A B",
    after_help = "A and B are images, containers, or paths with a slash: of directories, of archives. Each path \
that differs was added (A), deleted (D), modified (M), renamed (R), or has another time alone (T). Ends with 0 where \
nothing is different, with 1 where something is, with 2 where that cannot be said.

Examples: minirun diff web
          minirun diff debian:11 debian:12
          minirun diff --ignore /var/cache --ignore '*.pyc' site:1 ./rootfs
          minirun diff --content /etc/passwd site:1 site:2"
)]
pub(super) struct Args {
    /// Grouped by the layers of B that brought it
    #[arg(long, requires = "other")]
    layers: bool,
    /// Not these paths, nor what is below them: '/var/cache/*'; '*.pyc' anywhere
    #[arg(long, value_name = "GLOB", requires = "other")]
    ignore: Vec<String>,
    /// Not what differs in its time alone
    #[arg(long, requires = "other")]
    no_times: bool,
    /// This text file of both, line by line
    #[arg(long, value_name = "PATH", requires = "other", conflicts_with_all = ["layers", "json"])]
    content: Option<String>,
    /// One object with all of it
    #[arg(long, requires = "other")]
    json: bool,
    /// A container, which is compared with its image; or the first of two
    #[arg(value_name = "A")]
    container: String,
    /// What it is compared with
    #[arg(value_name = "B")]
    other: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let Some(other) = &args.other else {
        for row in tree::diff(roots, &args.container)? {
            ui::line(&format!("{} {}", row.letter, row.path))?;
        }
        return Ok(0);
    };
    // 1 says that something is different, and nothing else
    match two(args, other, roots) {
        Err(error) if error.kind != Kind::Usage => {
            ui::error(&error);
            Ok(2)
        }
        done => done,
    }
}

fn two(args: &Args, other: &str, roots: &Roots) -> Result<u8> {
    let (a, b) = (caller::word(&args.container), caller::word(other));
    if let Some(path) = &args.content {
        let text = difference::content(roots, &a, &b, path)?;
        ui::print(&text)?;
        return Ok(u8::from(!text.is_empty()));
    }
    let times = if args.no_times { Times::Ignored } else { Times::Count };
    let found = difference::difference(roots, &DiffRequest { a, b, ignore: args.ignore.clone(), times })?;
    let differs = !found.rows.is_empty() || found.packages.as_ref().is_some_and(|packages| !packages.is_empty());
    ui::print(&match args.json {
        true => document(&found, &args.container, other)?,
        false => page(&found, args.layers),
    })?;
    Ok(u8::from(differs))
}

fn page(found: &Difference, by_layer: bool) -> String {
    let mut page = String::new();
    if found.packages.is_none() && !found.rows.is_empty() {
        page += "packages are not compared: a database of them cannot be read\n";
    }
    for package in found.packages.iter().flatten() {
        page += &match (&package.was, &package.is) {
            (None, Some(is)) => format!("package {} {is} added\n", package.name),
            (Some(was), None) => format!("package {} {was} deleted\n", package.name),
            (was, is) => format!("package {} {} → {}\n", package.name, or_none(was), or_none(is)),
        };
    }
    found.setuid.iter().for_each(|path| page += &format!("new setuid file {}\n", ui::printable(path)));
    if !page.is_empty() && !found.rows.is_empty() {
        page.push('\n');
    }
    if by_layer {
        for (at, (id, by)) in found.layers.iter().enumerate() {
            let by = if by.is_empty() { String::new() } else { format!("  {}", ui::printable(by)) };
            let rows: Vec<&Change> = found.rows.iter().filter(|row| row.layer == Some(at)).collect();
            page += &format!("layer {} {}{by}\n", at + 1, ui::printable(id));
            rows.iter().for_each(|row| page += &format!("  {}\n", line(row)));
        }
        let rest: Vec<&Change> = found.rows.iter().filter(|row| row.layer.is_none()).collect();
        if !rest.is_empty() {
            page += "in no layer\n";
        }
        rest.iter().for_each(|row| page += &format!("  {}\n", line(row)));
    } else {
        found.rows.iter().for_each(|row| page += &format!("{}\n", line(row)));
    }
    if !found.rows.is_empty() {
        page += &format!("\n{}\n", summary(&found.rows));
    }
    page
}

/// `M     +5B  /etc/passwd  content, mode 0644 → 0600`
fn line(row: &Change) -> String {
    let from = row.from.as_ref().map(|from| format!("{} → ", ui::printable(from))).unwrap_or_default();
    let reasons = row.reasons.iter().map(|reason| match (&reason.was, &reason.is) {
        (None, None) => reason.what.to_owned(),
        (was, is) => ui::printable(&format!("{} {} → {}", reason.what, or_none(was), or_none(is))).into_owned(),
    });
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    let text = format!("{} {:>8}  {from}{}  {reasons}", row.letter, delta(row.delta), ui::printable(&row.path));
    text.trim_end().to_owned()
}

fn or_none(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("none")
}

fn delta(bytes: i64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!("{}{}", if bytes < 0 { '-' } else { '+' }, ui::decimal(bytes.unsigned_abs())),
    }
}

const LETTERS: [(char, &str); 5] =
    [('A', "added"), ('D', "deleted"), ('M', "modified"), ('R', "renamed"), ('T', "with another time alone")];

fn summary(rows: &[Change]) -> String {
    let count = |letter| rows.iter().filter(|row| row.letter == letter).count();
    let counts = LETTERS.iter().map(|(letter, what)| (count(*letter), what)).filter(|(count, _)| *count > 0);
    let mut parts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    let grown = rows.iter().fold(0_i64, |sum, row| sum.saturating_add(row.delta));
    parts.extend((grown != 0).then(|| delta(grown)));
    parts.join(", ")
}

fn document(found: &Difference, a: &str, b: &str) -> Result<String> {
    let rows = found.rows.iter().map(|row| {
        let reasons = row.reasons.iter().map(|r| json!({ "what": r.what, "was": r.was, "is": r.is }));
        json!({
            "change": row.letter.to_string(),
            "path": row.path,
            "from": row.from,
            "reasons": reasons.collect::<Value>(),
            "delta": row.delta,
            "layer": row.layer.map(|at| at + 1),
        })
    });
    let change = |p: &PackageChange| json!({ "name": p.name, "was": p.was, "is": p.is });
    let packages = found.packages.as_ref().map(|changes| changes.iter().map(change).collect::<Value>());
    let layers = found.layers.iter().map(|(id, by)| json!({ "id": id, "created_by": by }));
    let document = json!({
        "a": a,
        "b": b,
        "packages": packages,
        "setuid": found.setuid,
        "changes": rows.collect::<Value>(),
        "layers": layers.collect::<Value>(),
    });
    serde_json::to_string(&document).map(|text| text + "\n").map_err(|e| Error::internal(format!("diff: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_changed_by_how_much_and_why() {
        let mut row =
            Change { letter: 'A', path: "/new\n".into(), from: None, reasons: Vec::new(), delta: 1500, layer: None };
        assert_eq!(line(&row), "A   +1.5kB  /new\\n");
        (row.letter, row.delta, row.from) = ('R', -3, Some("/old".into()));
        assert_eq!(line(&row), "R      -3B  /old → /new\\n");
        assert_eq!(summary(&[row.clone(), row]), "2 renamed, -6B");
    }
}
