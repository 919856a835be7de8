//! `minirun restart`.

use super::{each_at_once, ui};
use crate::error::Result;
use crate::ops::life::{self, StopRequest};
use crate::ops::start;
use crate::spec::signal;
use crate::state::Roots;

/// Stop containers that run, and start them again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun restart -t 3 web")]
pub(super) struct Args {
    /// Signal to send first [the container's]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until it is killed, -1 waits for ever [the container's, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<i64>,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let signal = args.signal.as_deref().map(signal::parse).transpose()?.map(i32::from);
    let progress = ui::Bars::new(ui::Show::Nothing);
    Ok(each_at_once(
        &args.containers,
        |name| life::ask_to_end(roots, name, StopRequest { signal, seconds: args.time, stays: true }),
        |name, asked| {
            asked?.await_end(roots)?;
            start::start(roots, name, None, &progress)?;
            ui::line(name)
        },
    ))
}
