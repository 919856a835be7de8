//! `minirun ps`.

use super::ui;
use crate::error::Result;
use crate::ops::container::{self, ContainerRow};
use crate::state::Roots;

/// List containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun ps -a")]
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
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let rows = container::list(roots)?;
    let rows = rows.iter().filter(|row| args.all || row.running);
    let id = |row: &ContainerRow| if args.no_trunc { row.id.to_string() } else { row.id.short().to_owned() };
    if args.quiet {
        ui::print(&rows.map(|row| format!("{}\n", id(row))).collect::<String>())?;
        return Ok(0);
    }
    let line = |row: &ContainerRow| {
        vec![
            id(row),
            row.image.clone(),
            command(&row.command, args.no_trunc),
            ui::ago(row.age),
            status(row),
            row.ports.join(", "),
            row.name.clone(),
        ]
    };
    let lines: Vec<Vec<String>> = rows.map(line).collect();
    ui::table(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], &lines)?;
    Ok(0)
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

/// The words as one, in quotes, cut as docker cuts them.
fn command(words: &[String], whole: bool) -> String {
    const LONGEST: usize = 20;
    let text = words.join(" ");
    if whole || text.chars().count() <= LONGEST {
        return format!("\"{text}\"");
    }
    format!("\"{}…\"", text.chars().take(LONGEST - 1).collect::<String>())
}
