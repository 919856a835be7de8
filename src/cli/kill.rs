//! `minirun kill`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::life;
use crate::spec::signal;
use crate::state::Roots;

/// Send a signal to containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun kill -s HUP web")]
pub(super) struct Args {
    /// A name, with or without SIG, or a number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let signal = signal::parse(&args.signal)?;
    Ok(each(&args.containers, |name| {
        life::kill(roots, name, signal.into())?;
        ui::line(name)
    }))
}
