//! `minirun import`.

use super::{caller, ui};
use crate::error::{Error, Result};
use crate::ops::image::{self, ImportRequest, Input};
use crate::state::Roots;

/// Make an image of one layer from a root file system in a tar archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: mmdebstrap --variant=minbase bookworm - | minirun import - debian")]
pub(super) struct Args {
    /// Change the configuration as a line of a Dockerfile does: 'CMD ["sh"]', 'VOLUME /data'
    #[arg(short, long, value_name = "LINE")]
    change: Vec<String>,
    /// What its history shall say
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What it is for, where that is not this host: linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The archive, gzip, zstd or xz too; `-` is the standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// What the image shall be called
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn main(args: Args, roots: &Roots) -> Result<u8> {
    let input = match args.file.as_str() {
        "-" if ui::stdin_is_terminal() => {
            return Err(Error::user("an archive cannot be typed").hint("minirun import FILE NAME"));
        }
        "-" => Input::Stdin,
        path => Input::Path(caller::path(path)?),
    };
    let request =
        ImportRequest { name: args.name, changes: args.change, message: args.message, platform: args.platform };
    let digest = image::import(roots, &input, &request)?;
    ui::line(digest.as_str())?;
    Ok(0)
}
