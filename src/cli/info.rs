//! `minirun info`.

use super::ui;
use crate::error::Result;
use crate::ops::system;
use crate::state::Roots;

/// Show what this host offers and where minirun keeps its things
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun info")]
pub(super) struct Args {}

pub(super) fn main(_args: &Args, roots: &Roots) -> Result<u8> {
    for (name, value) in system::info(roots)? {
        ui::line(&format!("{name}: {value}"))?;
    }
    Ok(0)
}
