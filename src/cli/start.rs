//! `minirun start`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::run;
use crate::state::Roots;

/// Start containers that were created or have ended
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun start web")]
pub(super) struct Args {
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let progress = ui::Bars::new(ui::Show::Nothing);
    Ok(each(&args.containers, |name| {
        run::start(roots, name, &progress)?;
        ui::line(name)
    }))
}
