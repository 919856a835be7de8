//! `minirun logs`.

use super::ui;
use crate::error::{Error, Kind, Result};
use crate::ops::logs::{self, LogRequest};
use crate::state::Roots;

/// Show what a container has said
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun logs -f --tail 20 web")]
pub(super) struct Args {
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// So many of the last lines, or `all`
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Nothing from before: 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Nothing from after
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// There are no details that drivers add
    #[arg(long, hide = true)]
    details: bool,
    /// A name, an id or the unique beginning of one
    container: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let tail = match args.tail.as_str() {
        "all" | "-1" => None,
        number => Some(number.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("invalid number of lines {number:?}")).hint("--tail 20, or --tail all")
        })?),
    };
    let now = logs::now();
    let moment = |text: &Option<String>| text.as_deref().map(|text| logs::moment(text, now)).transpose();
    let request = LogRequest { follow: args.follow, tail, since: moment(&args.since)?, until: moment(&args.until)? };
    logs::logs(roots, &args.container, &request, &mut |entry| {
        let time = if args.timestamps { format!("{} ", entry.time) } else { String::new() };
        ui::stream(entry.stream == "stderr", &format!("{time}{}", entry.log))
    })?;
    Ok(0)
}
