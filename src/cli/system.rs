//! `minirun system`.

use super::ui;
use crate::error::Result;
use crate::ops;
use crate::state::Roots;
use clap::Subcommand;

/// Look after everything at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun system reset")]
pub(super) struct Args {
    #[command(subcommand)]
    command: System,
}

#[derive(Debug, Subcommand)]
enum System {
    /// List and, with --yes, remove everything that minirun ever made: containers, images, volumes, network, state
    Reset {
        /// Remove it
        #[arg(short, long)]
        yes: bool,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        System::Reset { yes: false } => list(roots),
        System::Reset { yes: true } => reset(roots),
    }
}

fn list(roots: &Roots) -> Result<u8> {
    let things = ops::system::everything(roots)?;
    for thing in &things {
        ui::line(thing)?;
    }
    ui::note(match things.len() {
        0 => "there is nothing to remove",
        _ => "nothing was removed: minirun system reset --yes does it",
    });
    Ok(0)
}

/// Goes on after a failure: what cannot be removed is told at the end.
fn reset(roots: &Roots) -> Result<u8> {
    let (removed, failed) = ops::system::reset(roots)?;
    for thing in &removed {
        ui::line(&format!("removed {thing}"))?;
    }
    for error in &failed {
        ui::error(error);
    }
    Ok(u8::from(!failed.is_empty()))
}
