//! `minirun ps`.

use super::format::{self, Listing, Row, row};
use super::ui;
use crate::error::Result;
use crate::ops::list::containers::{self, ContainerRow, Size, Wanted};
use crate::state::Roots;
use serde_json::json;

/// List containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: minirun ps -a --filter status=exited
          minirun ps --format 'table {{.Names}}\\t{{.Status}}'")]
pub(super) struct Args {
    /// Those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Those alone that match: status=exited, name=web, label=KEY[=VALUE], health=unhealthy, network=NAME …
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a Go template: '{{.Names}}', 'table {{.ID}}\t{{.Image}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The N that were made last, whatever they do
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1, hide_default_value = true)]
    last: i64,
    /// The one that was made last
    #[arg(short, long)]
    latest: bool,
    /// With what each has written into its root, and the size of the whole
    #[arg(short, long)]
    size: bool,
}

pub(super) const LISTING: Listing = Listing {
    fields: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("State", "STATE"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Size", "SIZE"),
    ],
    table: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
};

const WITH_SIZE: Listing = Listing {
    table: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..LISTING
};

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let last = if args.latest { Some(1) } else { usize::try_from(args.last).ok().filter(|last| *last > 0) };
    // looking takes long, and is done where somebody will see it
    let sizes = args.size || args.format.as_ref().is_some_and(|format| format.contains(".Size"));
    let rows = containers::list(roots, &Wanted { all: args.all, last, sizes, filters: args.filter.clone() })?;
    let rows: Vec<Row> = rows.iter().map(|row| fields(row, args.no_trunc)).collect();
    format::print_rows_as(
        args.format.as_deref(),
        args.quiet,
        if args.size { &WITH_SIZE } else { &LISTING },
        &rows,
        ui::Width::of(args.no_trunc),
    )?;
    Ok(0)
}

/// A container under docker's names.
pub(super) fn fields(of: &ContainerRow, whole: bool) -> Row {
    let mounts: Vec<String> =
        of.mounts.iter().map(|mount| cut(mount.as_str(), if whole { usize::MAX } else { 15 })).collect();
    row([
        ("ID", if whole { of.id.as_str() } else { of.id.short() }.into()),
        ("Image", of.image.as_str().into()),
        ("Command", command(&of.command, whole).into()),
        ("CreatedAt", of.created.as_deref().map(format::date).unwrap_or_default().into()),
        ("RunningFor", ui::ago(of.age).into()),
        ("Status", status(of).into()),
        ("Ports", of.ports.join(", ").into()),
        ("Names", of.name.as_str().into()),
        ("State", of.state.into()),
        ("Labels", format::pairs(&of.labels).into()),
        ("Label", json!(of.labels)),
        ("Mounts", mounts.join(",").into()),
        ("LocalVolumes", of.mounts.iter().filter(|mount| mount.name.is_some()).count().to_string().into()),
        ("Networks", of.networks.join(",").into()),
        ("Size", of.size.map_or_else(|| "N/A".to_owned(), size).into()),
    ])
}

/// `12kB (virtual 5MB)`
fn size(Size { own, image }: Size) -> String {
    format!("{} (virtual {})", ui::decimal(own), ui::decimal(own.saturating_add(image)))
}

/// `Up 5 minutes`, `Exited (0) 2 hours ago`
fn status(row: &ContainerRow) -> String {
    match row.since.map(ui::ago) {
        Some(ago) if row.running => {
            let note = match (row.paused, row.health) {
                (true, _) => " (Paused)".to_owned(),
                (false, Some("starting")) => " (health: starting)".to_owned(),
                (false, Some(health)) => format!(" ({health})"),
                (false, None) => String::new(),
            };
            format!("{} {}{note}", row.status, ago.trim_end_matches(" ago"))
        }
        Some(ago) => format!("{} {ago}", row.status),
        None => row.status.clone(),
    }
}

/// The words as one, in quotes, cut as docker cuts them; what has a space in it has quotes of its own.
fn command(words: &[String], whole: bool) -> String {
    let quoted = |(at, word): (usize, &String)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    let words: Vec<String> = words.iter().enumerate().map(quoted).collect();
    format!("\"{}\"", cut(&words.join(" "), if whole { usize::MAX } else { 20 }))
}

/// At most so many characters, the last of which says that there were more.
fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}
