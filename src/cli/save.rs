//! `minirun save`.

use super::{caller, ui};
use crate::error::{Error, Result};
use crate::ops::files::tree::Output;
use crate::ops::image::archives;
use crate::state::Roots;

/// Write images into an archive that docker, podman and skopeo read
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: minirun save -o tools.tar busybox debian:12
          minirun save busybox | ssh host minirun load")]
pub(super) struct Args {
    /// Write to FILE, or a directory, instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", value_parser = archives::FORMATS)]
    format: String,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// A name without a tag stands for all tags of its repository
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let output = match args.output.as_deref() {
        None | Some("-") if ui::stdout_is_terminal() => {
            let images = args.images.join(" ");
            return Err(Error::user("an archive is nothing for a terminal")
                .hint(format!("minirun save -o FILE {images}, or minirun save {images} > FILE")));
        }
        None | Some("-") => Output::Stdout,
        Some(path) => Output::File(caller::path(path)?),
    };
    let show = if args.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    ui::or_gone(archives::save(roots, &args.images, &args.format, &output, &ui::Bars::new(show)))?;
    Ok(0)
}
