//! `minirun info`.

use super::{format, ui};
use crate::error::Result;
use crate::ops::info;
use crate::state::Roots;

/// Show what this host offers and where minirun keeps its things
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun info -f '{{.KernelVersion}}'")]
pub(super) struct Args {
    /// json, or a Go template: '{{.NCPU}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        return format::print_value(format, &info::document(roots)?).map(|()| 0);
    }
    for (name, value) in info::info(roots)? {
        ui::line(&format!("{name}: {value}"))?;
    }
    Ok(0)
}
