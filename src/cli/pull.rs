//! `minirun pull`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::image;
use crate::state::Roots;

/// Get images from a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun pull alpine")]
pub(super) struct Args {
    /// Take the image for another platform: linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Names alone, no progress
    #[arg(short, long)]
    quiet: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let bars = ui::Bars::new(show);
    Ok(each(&args.images, |reference| {
        let pulled = image::pull(roots, reference, args.platform.as_deref(), &bars)?;
        if !args.quiet {
            ui::note(&format!("Digest: {}", pulled.digest));
        }
        ui::line(&pulled.name)
    }))
}
