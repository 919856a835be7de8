//! `minirun compare`.

mod html;

use super::graph::clip;
use super::{caller, ui};
use crate::error::Result;
use crate::ops::inside::{Word, compare};
use crate::state::Roots;
use serde_json::Value;

/// Compare what is inside of images: distribution, libraries, packages, files. The kernel is none of it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Containers, and directories and archives by a path with a slash, are compared as well. Nothing \
of them is run; `minirun demo kernel` runs a program in each and shows that they have one kernel.

Examples: minirun compare hello busybox debian
          minirun compare --format html busybox ./rootfs > compare.html"
)]
pub(super) struct Args {
    /// A table; one object for a program; a page of its own for a browser
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Form,
    /// A column for each
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Table,
    Json,
    Html,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let words: Vec<Word> = args.images.iter().map(|word| caller::word(word)).collect();
    let document = compare::compare(roots, &words)?;
    match args.format {
        Form::Json => ui::print(&format!("{document}\n"))?,
        Form::Html => ui::print(&html::page(&document))?,
        Form::Table => table(&document)?,
    }
    Ok(0)
}

/// A row of the comparison: what it is of, and what it says of an image.
type Line = (&'static str, fn(&Value) -> String);

const NONE: &str = "none";

const LINES: [Line; 16] = [
    ("VERDICT", |image| text(&image["verdict"])),
    ("DISTRIBUTION", |image| joined(&[&image["distribution"]["id"], &image["distribution"]["version"]], " ")),
    ("LIBC", |image| joined(&[&image["libc"]["kind"], &image["libc"]["version"]], " ")),
    ("LOADER", |image| text(&image["loader"])),
    ("SHELL", |image| text(&image["shell"]["path"])),
    ("PACKAGES", |image| match (&image["packages"]["format"], &image["packages"]["count"]) {
        (Value::String(format), Value::Null) => format!("{format} database"),
        (Value::String(format), count) => format!("{count} ({format})"),
        _ => NONE.to_owned(),
    }),
    ("MANAGER", |image| text(&image["package_manager"])),
    ("CERTIFICATES", |image| text(&image["certificates"]["count"])),
    ("TIME ZONES", |image| text(&image["time_zones"])),
    ("USERS", |image| text(&image["users"])),
    ("SETUID FILES", |image| text(&image["setuid"].as_array().map_or(0, Vec::len).into())),
    ("ENTRY POINT", |image| joined(&[&image["entry_point"]["command"], &image["entry_point"]["linkage"]], ", ")),
    ("IT LACKS", |image| match image["entry_point"]["missing"].as_array() {
        Some(missing) if !missing.is_empty() => missing.iter().map(text).collect::<Vec<_>>().join(" "),
        _ => "nothing".to_owned(),
    }),
    ("FILES", |image| text(&image["files"])),
    ("SIZE", |image| ui::decimal(image["size"].as_u64().unwrap_or(0))),
    ("LAYERS", |image| match (&image["layers"]["count"], &image["layers"]["shared"]) {
        (count, Value::Number(shared)) if shared.as_u64() > Some(0) => format!("{count}, {shared} shared"),
        (count, _) => text(count),
    }),
];

/// What is not there, or is none, is `none`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.as_u64() == Some(0) => NONE.to_owned(),
        other => other.to_string(),
    }
}

fn joined(values: &[&Value], by: &str) -> String {
    let said = values.iter().filter(|value| !value.is_null()).map(|value| text(value)).collect::<Vec<_>>();
    if said.is_empty() { NONE.to_owned() } else { said.join(by) }
}

/// The architecture, where it is not the host's.
fn foreign(image: &Value) -> Option<&str> {
    image["architecture"].as_str().filter(|is| Some(*is) != image["host_architecture"].as_str())
}

fn name(image: &Value) -> String {
    let foreign = foreign(image).map(|is| format!(" ({is})")).unwrap_or_default();
    format!("{}{foreign}", text(&image["name"]))
}

/// The first column of a table, and a column that still says something.
const FIRST: usize = 13;
const NARROW: usize = 20;
const GAP: usize = 3;

/// As many columns beside each other as the terminal takes, the others below.
fn table(document: &Value) -> Result<()> {
    let images = document["images"].as_array().map(Vec::as_slice).unwrap_or_default();
    let columns = crate::ops::columns();
    let at_once = columns.map_or(images.len(), |columns| columns.saturating_sub(FIRST) / (NARROW + GAP)).max(1);
    for (at, some) in images.chunks(at_once).enumerate() {
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(FIRST) / some.len().max(1));
        let names: Vec<String> =
            some.iter().map(|image| clip(&ui::printable(&name(image)), room.saturating_sub(GAP).max(8))).collect();
        let header: Vec<&str> = ["IMAGE"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let row = |(label, of): &Line| [(*label).to_owned()].into_iter().chain(some.iter().map(of)).collect::<Vec<_>>();
        let mut rows: Vec<Vec<String>> = LINES.iter().map(row).collect();
        // what all have in common, for none of them has it
        rows.push(
            ["HOST'S KERNEL".to_owned()].into_iter().chain(some.iter().map(|_| text(&document["kernel"]))).collect(),
        );
        if at > 0 {
            ui::print("\n")?;
        }
        ui::table(&header, &rows, ui::Width::Fits)?;
    }
    Ok(())
}
