//! `minirun logout`.

use super::ui;
use crate::error::Result;
use crate::ops::registry;
use crate::state::Roots;

/// Forget the login to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun logout ghcr.io")]
pub(super) struct Args {
    /// Where from: ghcr.io, host:5000
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    server: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let said = match registry::logout(roots, &args.server)? {
        true => format!("Removed the login to {}", args.server),
        false => format!("Not logged in to {}", args.server),
    };
    ui::line(&said)?;
    Ok(0)
}
