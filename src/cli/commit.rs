//! `minirun commit`.

use super::ui;
use crate::error::Result;
use crate::ops::files::commit::{self, CommitRequest, Pause};
use crate::state::Roots;

/// Make an image of a container: its image, and a layer of what it has changed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun commit -c 'CMD [\"httpd\", \"-f\"]' web site:2")]
pub(super) struct Args {
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Why
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Change the configuration by a line of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,
    /// VOLUME, WORKDIR
    #[arg(short, long, value_name = "LINE")]
    change: Vec<String>,
    /// Stop its processes meanwhile: true or false
    #[arg(short, long, value_name = "BOOL", action = clap::ArgAction::Set, default_value_t = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pause: bool,
    /// A name, an id or the unique beginning of one
    container: String,
    /// What the image shall be called
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

pub(super) fn main(args: Args, roots: &Roots) -> Result<u8> {
    let request = CommitRequest {
        container: args.container,
        name: args.name,
        author: args.author,
        message: args.message,
        changes: args.change,
        pause: if args.pause { Pause::Yes } else { Pause::No },
    };
    let id = commit::commit(roots, &request)?;
    ui::line(id.as_str())?;
    Ok(0)
}
