//! `minirun rmi`.

use super::{each, or_absent, ui};
use crate::error::Result;
use crate::ops::container::Force;
use crate::ops::image::{self, Removed};
use crate::state::Roots;

/// Remove images
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun rmi alpine")]
pub(super) struct Args {
    /// Even where containers that have ended use it
    #[arg(short, long)]
    force: bool,
    /// There are no images in between that could be left
    #[arg(long, hide = true)]
    no_prune: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let force = if args.force { Force::Yes } else { Force::No };
    Ok(each(&args.images, |name| {
        for removed in or_absent(args.force, image::remove(roots, name, force))? {
            match removed {
                Removed::Untagged(name) => ui::line(&format!("Untagged: {name}"))?,
                Removed::Deleted(digest) => ui::line(&format!("Deleted: {digest}"))?,
            }
        }
        Ok(())
    }))
}
