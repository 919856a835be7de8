//! `minirun pause`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::life;
use crate::state::Roots;

/// Make every process of a container stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun pause web")]
pub(super) struct Args {
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    Ok(each(&args.containers, |name| {
        life::pause(roots, name)?;
        ui::line(name)
    }))
}
