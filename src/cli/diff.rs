//! `minirun diff`.

use super::ui;
use crate::error::Result;
use crate::ops::files::tree;
use crate::state::Roots;

/// List what a container has added (A), changed (C) and deleted (D) in its root
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun diff web")]
pub(super) struct Args {
    /// A name, an id or the unique beginning of one
    container: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    for row in tree::diff(roots, &args.container)? {
        ui::line(&format!("{} {}", row.letter, row.path))?;
    }
    Ok(0)
}
