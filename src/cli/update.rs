//! `minirun update`.

use super::{each, run, ui};
use crate::error::Result;
use crate::ops::update::{self, UpdateRequest};
use crate::spec::restart;
use crate::state::Roots;

/// Give containers other limits, or another restart policy
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun update -m 128m --cpus 2 web")]
pub(super) struct Args {
    #[command(flatten)]
    limits: run::Limits,
    /// Start it again when it ends: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let restart = args.restart.as_deref().map(restart::parse).transpose()?;
    let wanted = UpdateRequest { resources: run::request::limits(&args.limits)?, restart };
    let progress = ui::Bars::new(ui::Show::Nothing);
    Ok(each(&args.containers, |name| {
        update::update(roots, name, &wanted, &progress)?;
        ui::line(name)
    }))
}
