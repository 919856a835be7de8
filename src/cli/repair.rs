//! `minirun repair`.

use super::ui;
use crate::error::Result;
use crate::ops::system;
use crate::state::Roots;

/// Undo what killed commands left behind
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun repair")]
pub(super) struct Args {}

pub(super) fn main(_args: &Args, roots: &Roots) -> Result<u8> {
    let repaired = system::repair(roots)?;
    for line in &repaired {
        ui::line(line)?;
    }
    if repaired.is_empty() {
        ui::note("nothing to repair");
    }
    Ok(0)
}
