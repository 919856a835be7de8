//! `minirun start`.

use super::{each, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::detach_keys::DetachKeys;
use crate::ops::run::{self, Front, Ran};
use crate::state::Roots;

/// Start containers that were created or have ended
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun start web\n         minirun start -ai shell")]
pub(super) struct Args {
    /// Stay in front of it: its output, its signals, its exit code
    #[arg(short, long)]
    attach: bool,
    /// With the standard input, too, where it was made with -i
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave its terminal [ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let progress = ui::Bars::new(ui::Show::Nothing);
    if !args.attach && !args.interactive {
        return Ok(each(&args.containers, |name| {
            run::start(roots, name, None, &progress)?;
            ui::line(name)
        }));
    }
    let [name] = &args.containers[..] else {
        return Err(
            Error::new(Kind::Usage, "only one container can be attached to").hint("start the others without -a")
        );
    };
    let keys = DetachKeys::parse(args.detach_keys.as_deref().unwrap_or_default())?;
    let front = Front { input: args.interactive, keys, ..Front::default() };
    match run::start(roots, name, Some(front), &progress)? {
        Ran::Exited(code) => Ok(code),
        Ran::Left | Ran::Detached(_) => Ok(0),
    }
}
