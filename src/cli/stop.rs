//! `minirun stop`.

use super::{each_at_once, ui};
use crate::error::Result;
use crate::ops::life;
use crate::state::Roots;
use std::time::Duration;

/// Ask containers to end, and kill those that do not
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun stop -t 3 web")]
pub(super) struct Args {
    /// Seconds until it is killed; -1 waits for ever
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", default_value_t = 10)]
    time: i64,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let patience = u64::try_from(args.time).ok().map(Duration::from_secs);
    Ok(each_at_once(
        &args.containers,
        |name| life::ask_to_end(roots, name, patience),
        |name, asked| {
            asked?.await_end(roots)?;
            ui::line(name)
        },
    ))
}
