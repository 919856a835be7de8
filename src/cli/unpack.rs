//! `minirun unpack`.

use super::{caller, ui};
use crate::error::Result;
use crate::ops::unpack::{self, From};
use crate::state::Roots;

/// Write an image's root file system into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun unpack alpine rootfs && minirun run --rootfs rootfs sh")]
pub(super) struct Args {
    /// Take the image for another platform: linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// One of `minirun images`, or `oci:DIR[:NAME]`: one of an OCI layout, every byte of which is checked
    #[arg(value_name = "IMAGE")]
    image: String,
    /// An empty directory, or one to be made
    #[arg(value_name = "DIR")]
    dir: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let from = match args.image.strip_prefix("oci:") {
        Some(layout) => From::Layout(caller::path(layout)?),
        None => From::Store(args.image.clone()),
    };
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let bars = ui::Bars::new(show);
    unpack::unpack(roots, &from, &caller::path(&args.dir)?, args.platform.as_deref(), &bars)?;
    Ok(0)
}
