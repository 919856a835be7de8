//! `minirun inspect`.

use super::{each, format, ui};
use crate::error::{Error, Result};
use crate::ops::inspect::{self, Kind};
use crate::state::Roots;

/// Show all that is known of containers, images, volumes or networks, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun inspect -f '{{.State.Pid}}' web")]
pub(super) struct Args {
    /// json, or a Go template: '{{.State.Pid}}', '{{json .Mounts}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// container, image, volume or network, where several have the name
    #[arg(long, value_name = "TYPE", value_parser = KINDS, hide_possible_values = true)]
    r#type: Option<String>,
    /// With what a container has written into its root
    #[arg(short, long)]
    size: bool,
    /// Containers first, then images, volumes and networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

const KINDS: [&str; 4] = ["container", "image", "volume", "network"];

/// What docker shows only where it is set, and `{{if .State.Health}}` may ask for everywhere.
const OPTIONAL: [&str; 5] = ["Health", "Healthcheck", "ExposedPorts", "Volumes", "StopSignal"];

/// One array for all that were found, as docker prints it, even where one was not; or a template for each.
pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let kind = match args.r#type.as_deref() {
        Some("container") => Kind::Container,
        Some("image") => Kind::Image,
        Some("volume") => Kind::Volume,
        Some("network") => Kind::Network,
        _ => Kind::Any,
    };
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    if let Some(template) = format.filter(|format| *format != "json") {
        format::check(template)?;
        return Ok(each(&args.names, |name| {
            let document = inspect::inspect(roots, name, kind, args.size)?;
            ui::print(&format::of_value(template, &document, &OPTIONAL)?)
        }));
    }
    let mut found = Vec::new();
    let code = each(&args.names, |name| {
        found.push(inspect::inspect(roots, name, kind, args.size)?);
        Ok(())
    });
    let text = match format {
        Some(_) => serde_json::to_string(&found).map_err(|e| Error::internal(format!("inspect: {e}")))?,
        None => format::pretty(&found)?,
    };
    ui::print(&format!("{text}\n"))?;
    Ok(code)
}
