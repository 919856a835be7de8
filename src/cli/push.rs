//! `minirun push`.

use super::ui;
use crate::error::{Error, Kind, Result};
use crate::ops::registry::{self, Tags};
use crate::state::Roots;

/// Put an image into a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun push site:2 127.0.0.1:5000/team/site:2")]
pub(super) struct Args {
    /// Put all tags of the repository that are here
    #[arg(short, long)]
    all_tags: bool,
    /// The digest alone, no progress
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Under this name instead of its own
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    if args.all_tags && args.name.is_some() {
        let error = Error::new(Kind::Usage, "with --all-tags the images keep their names");
        return Err(error.hint("give them names with minirun tag, then push all"));
    }
    let bars = ui::Bars::new(if args.quiet { ui::Show::Nothing } else { ui::Show::Bars });
    let tags = if args.all_tags { Tags::All } else { Tags::One };
    registry::push(roots, &args.image, args.name.as_deref(), tags, &bars, |pushed| {
        if !args.quiet {
            ui::note(&format!("Pushed: {}", pushed.name));
        }
        ui::line(pushed.digest.as_str())
    })?;
    Ok(0)
}
