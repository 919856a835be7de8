//! `minirun system`.

use super::{df, ui};
use crate::error::{Error, Kind, Result};
use crate::ops;
use crate::ops::image::Removed;
use crate::ops::networks;
use crate::ops::prune;
use crate::ops::volume;
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
    /// Show what images, containers and volumes take on disk
    Df {
        /// json, or a Go template: '{{.Type}} {{.Size}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// Each image, container and volume by itself
        #[arg(short, long, conflicts_with = "format")]
        verbose: bool,
    },
    /// Remove the containers that do not run, the images without a name that none was made from, unused networks
    Prune {
        /// Images with a name, too
        #[arg(short, long)]
        all: bool,
        /// The volumes without a name that no container has, too
        #[arg(long)]
        volumes: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Only some: until=24h (made before that), label= or label!=
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// `container prune` and `image prune`
        #[arg(long, hide = true)]
        only: Option<Only>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Containers,
    Images,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        System::Reset { yes: false } => list(roots),
        System::Reset { yes: true } => reset(roots),
        System::Df { verbose: true, .. } => df::each(roots),
        System::Df { verbose: false, format } => df::sums(roots, format.as_deref()),
        System::Prune { all, volumes, force, filter, only } => {
            if prune::asks_for_age(filter)? && *volumes {
                return Err(Error::new(Kind::Usage, "volumes are not removed by their age")
                    .hint("leave out --volumes or --filter until="));
            }
            match *force || confirmed(*all, *volumes, *only)? {
                true => prune(roots, *all, *volumes, filter, *only),
                false => Ok(0),
            }
        }
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

/// Whether the person in front of it wants that; where there is none, it is not done.
fn confirmed(all: bool, volumes: bool, only: Option<Only>) -> Result<bool> {
    if !ui::stdin_is_terminal() {
        return Err(Error::user("nobody is there to ask whether that shall be removed").hint("--force does not ask"));
    }
    let mut what = Vec::new();
    if only != Some(Only::Images) {
        what.push("all containers that do not run");
    }
    if only != Some(Only::Containers) {
        what.push(if all { "all images that no container was made from" } else { "all images without a name" });
    }
    if volumes {
        what.push("all volumes without a name that no container has");
    }
    if only.is_none() {
        what.push("all networks of one's own that no container has");
    }
    ui::warning(&format!("this will remove {}", what.join(", ")));
    ui::confirm("Are you sure you want to continue?")
}

fn prune(roots: &Roots, all: bool, volumes: bool, filter: &[String], only: Option<Only>) -> Result<u8> {
    let mut reclaimed = 0;
    let mut show = |heading: &str, lines: Vec<String>, bytes: u64| {
        reclaimed += bytes;
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if lines.is_empty() { Ok(()) } else { ui::print(&format!("{heading}:\n{lines}\n")) }
    };
    // containers first: with them go the uses of images and volumes
    if only != Some(Only::Images) {
        let pruned = prune::containers(roots, filter)?;
        let ids = pruned.removed.iter().map(ToString::to_string).collect();
        show("Deleted Containers", ids, pruned.reclaimed)?;
    }
    if only != Some(Only::Containers) {
        let pruned = prune::images(roots, all, filter)?;
        let line = |removed: &Removed| match removed {
            Removed::Untagged(name) => format!("untagged: {name}"),
            Removed::Deleted(digest) => format!("deleted: {digest}"),
        };
        show("Deleted Images", pruned.removed.iter().map(line).collect(), pruned.reclaimed)?;
    }
    if volumes {
        let pruned = volume::prune(roots, false, filter)?;
        show("Deleted Volumes", pruned.volumes.iter().map(ToString::to_string).collect(), pruned.reclaimed)?;
    }
    if only.is_none() {
        show("Deleted Networks", networks::prune(roots, filter)?, 0)?;
    }
    ui::line(&format!("Total reclaimed space: {}", ui::decimal(reclaimed)))?;
    Ok(0)
}
