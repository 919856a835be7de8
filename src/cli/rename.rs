//! `minirun rename`.

use crate::error::Result;
use crate::id::Name;
use crate::ops::life;
use crate::state::Roots;

/// Give a container another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun rename web old-web")]
pub(super) struct Args {
    /// A name, an id or the unique beginning of one
    container: String,
    /// The new name
    name: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    life::rename(roots, &args.container, &Name::parse(&args.name)?).map(|()| 0)
}
