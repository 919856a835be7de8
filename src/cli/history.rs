//! `minirun history`.

use super::ui;
use crate::error::Result;
use crate::ops::image;
use crate::state::Roots;

/// Show how an image was made, the last step first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun history busybox")]
pub(super) struct Args {
    /// Whole commands
    #[arg(long)]
    no_trunc: bool,
    /// A name, an id or the unique beginning of one
    image: String,
}

/// As much of a command as docker shows.
const SHOWN: usize = 45;

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let rows: Vec<Vec<String>> = image::history(roots, &args.image)?
        .into_iter()
        .map(|row| {
            let id = match (&row.id, args.no_trunc) {
                (Some(id), true) => id.to_string(),
                (Some(id), false) => id.short().to_owned(),
                (None, _) => "<missing>".to_owned(),
            };
            let age = row.age.map_or_else(|| "N/A".to_owned(), ui::ago);
            let by = match args.no_trunc || row.by.chars().count() <= SHOWN {
                true => row.by,
                false => format!("{}…", row.by.chars().take(SHOWN - 1).collect::<String>()),
            };
            vec![id, age, by, ui::size(row.size), row.comment]
        })
        .collect();
    ui::table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)?;
    Ok(0)
}
