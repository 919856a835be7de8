//! `minirun start`.

use super::{each, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::detach_keys::DetachKeys;
use crate::ops::start::{self, Front};
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
    /// Start all that --restart wants to run after a reboot: for the host's start
    #[arg(long, conflicts_with_all = ["attach", "interactive", "containers"])]
    restart_policy: bool,
    /// What a monitor says that has waited for it
    #[arg(long, hide = true)]
    again: bool,
    /// Names, ids or the unique beginning of one
    #[arg(required_unless_present = "restart_policy", value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let progress = ui::Bars::new(ui::Show::Nothing);
    if args.restart_policy {
        return by_policy(roots, &progress);
    }
    if args.again {
        return Ok(each(&args.containers, |id| start::start_again(roots, id, &progress)));
    }
    if !args.attach && !args.interactive {
        return Ok(each(&args.containers, |name| {
            start::start(roots, name, None, &progress)?;
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
    start::start(roots, name, Some(front), &progress).map(|ran| super::ended(&ran))
}

fn by_policy(roots: &Roots, progress: &ui::Bars) -> Result<u8> {
    let mut code = 0;
    for (name, started) in start::start_by_policy(roots, progress)? {
        match started {
            Ok(()) => ui::line(name.as_str())?,
            Err(error) => {
                ui::error(&error.during(format!("starting {name}")));
                code = 1;
            }
        }
    }
    Ok(code)
}
