//! `minirun pull`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::registry::{self, Tags};
use crate::state::Roots;

/// Get images from a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun pull alpine")]
pub(super) struct Args {
    /// Get all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
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
    let bars = ui::Bars::new(if args.quiet { ui::Show::Nothing } else { ui::Show::Bars });
    let tags = if args.all_tags { Tags::All } else { Tags::One };
    Ok(each(&args.images, |name| {
        registry::pull(roots, name, tags, args.platform.as_deref(), &bars, |pulled| {
            if !args.quiet {
                ui::note(&format!("Digest: {}", pulled.digest));
            }
            ui::line(&pulled.name)
        })
    }))
}
