//! `minirun copy`.

use super::{caller, ui};
use crate::error::Result;
use crate::ops::image::archives::{self, Copying};
use crate::state::Roots;

/// Copy an image from one place to another, such as from a registry into a file
#[derive(Debug, clap::Args)]
#[command(after_help = "Places: NAME or minirun:NAME (the store), docker://NAME (a registry), oci:DIR[:NAME],
        oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], dir:DIR

Examples: minirun copy busybox oci:layout:busybox
          minirun copy docker-archive:b.tar docker://localhost:5000/busybox")]
pub(super) struct Args {
    /// Of an image for several platforms all, not the host's alone
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,
    /// Of an image for several platforms that for another one: linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// From where
    #[arg(value_name = "PLACE")]
    source: String,
    /// Where to
    #[arg(value_name = "PLACE")]
    destination: String,
}

pub(super) fn main(args: Args, roots: &Roots) -> Result<u8> {
    let place = |text: &str| archives::place(text, caller::path);
    let copying =
        Copying { from: place(&args.source)?, to: place(&args.destination)?, platform: args.platform, all: args.all };
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let digest = archives::copy(roots, &copying, &ui::Bars::new(show))?;
    ui::line(digest.as_str())?;
    Ok(0)
}
