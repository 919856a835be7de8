//! `minirun generate`.

use super::{each, ui};
use crate::error::Result;
use crate::ops::generate;
use crate::state::Roots;
use clap::Subcommand;

/// Print what other programs need to look after containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  minirun generate systemd web >/etc/systemd/system/container-web.service
  minirun generate systemd --boot >/etc/systemd/system/minirun.service")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print systemd units that start and stop containers
    Systemd {
        /// One unit that starts, when the host does, all that --restart wants to run
        #[arg(long, conflicts_with = "containers")]
        boot: bool,
        /// Seconds until a stop kills it, -1 waits for ever [the container's, else 10]
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<i64>,
        /// Names are used in any case
        #[arg(short, long, hide = true)]
        name: bool,
        /// Names, ids or the unique beginning of one
        #[arg(required_unless_present = "boot", value_name = "CONTAINER")]
        containers: Vec<String>,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let Verb::Systemd { boot, time, containers, name: _ } = &args.command;
    if *boot {
        return ui::print(&generate::for_boot(roots)?.text).map(|()| 0);
    }
    let mut first = true;
    Ok(each(containers, |name| {
        let unit = generate::for_container(roots, name, *time)?;
        let gap = if std::mem::take(&mut first) { "" } else { "\n" };
        ui::print(&format!("{gap}{}", unit.text))
    }))
}
