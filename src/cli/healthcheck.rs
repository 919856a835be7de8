//! `minirun healthcheck`.

use super::ui;
use crate::error::Result;
use crate::ops::health;
use crate::state::Roots;
use clap::Subcommand;

/// Make a container's health check now
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun healthcheck run web && echo well")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make it, and end with 0 where it succeeds and 1 where it does not; it counts like any other
    Run {
        /// A name, an id or the unique beginning of one
        container: String,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let Verb::Run { container } = &args.command;
    let checked = health::run(roots, container)?;
    if checked.healthy {
        return Ok(0);
    }
    ui::stream(true, &checked.output)?;
    ui::line("unhealthy")?;
    Ok(1)
}
