//! `minirun rm`.

use super::{each_at_once, ui};
use crate::error::Result;
use crate::ops::container::{self, Force};
use crate::state::Roots;

/// Remove containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun rm -f web")]
pub(super) struct Args {
    /// Kill it first where it runs
    #[arg(short, long)]
    force: bool,
    /// Its volumes without a name go with it in any case
    #[arg(short, long, hide = true)]
    volumes: bool,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let force = if args.force { Force::Yes } else { Force::No };
    Ok(each_at_once(
        &args.containers,
        |name| (force == Force::Yes).then(|| container::kill(roots, name)),
        |name, _killed| {
            container::remove(roots, name, force)?;
            ui::line(name)
        },
    ))
}
