//! `minirun export`.

use super::{caller, ui};
use crate::error::{Error, Result};
use crate::ops::files::tree::{self, Output};
use crate::state::Roots;

/// Write a container's root file system as a tar, without what is mounted in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun export -o web.tar web")]
pub(super) struct Args {
    /// Write to FILE instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// A name, an id or the unique beginning of one
    container: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let output = match args.output.as_deref() {
        None | Some("-") if ui::stdout_is_terminal() => {
            return Err(Error::user("a tar is nothing for a terminal")
                .hint(format!("minirun export -o FILE {0}, or minirun export {0} > FILE", args.container)));
        }
        None | Some("-") => Output::Stdout,
        Some(path) => Output::File(caller::path(path)?),
    };
    ui::or_gone(tree::export(roots, &args.container, &output))?;
    Ok(0)
}
