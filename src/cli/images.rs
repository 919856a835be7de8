//! `minirun images`.

use super::ui;
use crate::error::Result;
use crate::ops::image::{self, ImageRow};
use crate::state::Roots;

/// List images
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun images")]
pub(super) struct Args {
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// There are no images in between that could be hidden
    #[arg(short, long, hide = true)]
    all: bool,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let rows = image::list(roots)?;
    let id = |row: &ImageRow| if args.no_trunc { row.id.to_string() } else { row.id.short().to_owned() };
    if args.quiet {
        ui::print(&rows.iter().map(|row| format!("{}\n", id(row))).collect::<String>())?;
        return Ok(0);
    }
    let line = |row: &ImageRow| {
        vec![
            row.repository.clone(),
            row.tag.clone(),
            id(row),
            row.age.map_or_else(|| "-".to_owned(), ui::ago),
            ui::size(row.size),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    ui::table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &lines)?;
    Ok(0)
}
