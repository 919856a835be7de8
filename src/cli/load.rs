//! `minirun load`.

use super::{caller, ui};
use crate::error::{Error, Result};
use crate::ops::image::{self, Input};
use crate::state::Roots;

/// Load images from a docker archive, an OCI archive or the directory of an OCI layout
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun load -i busybox.tar")]
pub(super) struct Args {
    /// Read FILE, or a directory, instead of the standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<String>,
    /// Names alone, no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let input = match args.input.as_deref() {
        Some("-") | None if ui::stdin_is_terminal() => {
            return Err(Error::user("an archive cannot be typed").hint("minirun load -i FILE, or minirun load < FILE"));
        }
        Some("-") | None => Input::Stdin,
        Some(path) => Input::Path(caller::path(path)?),
    };
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    for name in image::load(roots, &input, &ui::Bars::new(show))? {
        ui::line(&if args.quiet { name } else { format!("Loaded image: {name}") })?;
    }
    Ok(0)
}
