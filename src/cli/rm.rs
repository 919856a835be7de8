//! `minirun rm`.

use super::{each_at_once, or_absent, ui};
use crate::error::Result;
use crate::ops::container::{self, Anonymous, Force};
use crate::state::Roots;

/// Remove containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun rm -f web")]
pub(super) struct Args {
    /// Kill it first where it runs
    #[arg(short, long)]
    force: bool,
    /// Remove its volumes without a name, too
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let force = if args.force { Force::Yes } else { Force::No };
    let volumes = if args.volumes { Anonymous::Remove } else { Anonymous::Keep };
    Ok(each_at_once(
        &args.containers,
        |name| if force == Force::Yes { container::kill(roots, name) } else { None },
        |name, killed| {
            let removed = match killed {
                Some(id) => container::remove_by_id(roots, &id, force, volumes),
                None => container::remove(roots, name, force, volumes),
            };
            or_absent(args.force, removed.and_then(|()| ui::line(name)))
        },
    ))
}
