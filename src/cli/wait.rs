//! `minirun wait`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::life;
use crate::state::Roots;

/// Wait for containers to end, and print their exit codes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun wait web")]
pub(super) struct Args {
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    Ok(each(&args.containers, |name| ui::line(&life::wait(roots, name)?.to_string())))
}
