//! `minirun stop`.

use super::{each_at_once, ui};
use crate::error::Result;
use crate::ops::life::{self, StopRequest};
use crate::spec::signal;
use crate::state::Roots;

/// Ask containers to end, and kill those that do not
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun stop -t 3 web")]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// How a container is asked to end.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Signal to send first [the container's]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until it is killed, -1 waits for ever [the container's, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<i64>,
}

impl How {
    pub(super) fn request(&self, stays: bool) -> Result<StopRequest> {
        let signal = self.signal.as_deref().map(signal::parse).transpose()?.map(i32::from);
        Ok(StopRequest { signal, seconds: self.time, stays })
    }
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let request = args.how.request(false)?;
    Ok(each_at_once(
        &args.containers,
        |name| life::ask_to_end(roots, name, request),
        |name, asked| {
            asked?.await_end(roots)?;
            ui::line(name)
        },
    ))
}
