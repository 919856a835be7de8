//! `minirun verify`.

use super::ui;
use crate::error::{Error, Result};
use crate::ops::image::archives;
use crate::state::Roots;

/// Check that images still are what their digests say: every blob, and the form of unpacked layers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun verify busybox")]
pub(super) struct Args {
    /// All of them, which is what is done where none is named
    #[arg(short, long, conflicts_with = "images")]
    all: bool,
    /// Only what is damaged, no progress
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let verdicts = archives::verify(roots, &args.images, &ui::Bars::new(show))?;
    let mut damaged = Vec::new();
    for of in &verdicts {
        for damage in &of.damage {
            ui::line(&format!("{}: damaged: {damage}", of.image))?;
        }
        if !of.damage.is_empty() {
            damaged.push(of.image.as_str());
        } else if !args.quiet {
            let (layers, size) = (if of.layers == 1 { "layer" } else { "layers" }, ui::decimal(of.bytes));
            ui::line(&format!("{}: whole, {size}, {} {layers}, {} unpacked", of.image, of.layers, of.unpacked))?;
        }
    }
    if damaged.is_empty() {
        return Ok(0);
    }
    let (count, all) = (damaged.len(), verdicts.len());
    Err(Error::image(format!("{count} of {all} images damaged"))
        .hint(format!("minirun rmi {}, then pull or load again", damaged.join(" "))))
}
