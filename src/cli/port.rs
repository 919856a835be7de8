//! `minirun port`.

use super::ui;
use crate::error::Result;
use crate::ops::inspect;
use crate::state::Roots;

/// List a container's published ports
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun port web 80/tcp")]
pub(super) struct Args {
    /// A name, an id or the unique beginning of one
    container: String,
    /// One of the container's own ports: where it is published
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let lines = inspect::port(roots, &args.container, args.port.as_deref())?;
    ui::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>()).map(|()| 0)
}
