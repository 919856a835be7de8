//! `minirun tag`.

use crate::error::Result;
use crate::ops::image;
use crate::state::Roots;

/// Give an image one more name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun tag busybox tools:1")]
pub(super) struct Args {
    /// A name, an id or the unique beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,
    /// An older image loses it
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    image::tag(roots, &args.image, &args.name).map(|()| 0)
}
