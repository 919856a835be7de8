//! `minirun unpause`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::life;
use crate::state::Roots;

/// Let the processes of a paused container go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun unpause web")]
pub(super) struct Args {
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    Ok(each(&args.containers, |name| {
        life::unpause(roots, name)?;
        ui::line(name)
    }))
}
