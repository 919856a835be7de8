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
    /// Remove what is damaged, so that the next pull or load brings it again
    #[arg(long)]
    repair: bool,
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
    let removed = if args.repair { archives::repair(roots, &verdicts)? } else { Vec::new() };
    removed.iter().try_for_each(|blob| ui::line(&format!("removed {blob}")))?;
    let (count, all, names) = (damaged.len(), verdicts.len(), damaged.join(" "));
    let hint = match (args.repair, removed.is_empty()) {
        (false, _) => format!("minirun verify --repair {names}, then pull or load again: a blob that is here is kept"),
        (true, false) => "pull or load again".to_owned(),
        // a blob is missing, or an unpacked layer is wrong
        (true, true) => format!("pull or load again; where that does not help, minirun rmi {names} first"),
    };
    Err(Error::image(format!("{count} of {all} images damaged")).hint(hint))
}
