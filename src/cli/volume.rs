//! `minirun volume`.

use super::format::{self, Listing, Row, row};
use super::{each, ui};
use crate::error::{Error, Result};
use crate::ops::volume::{self, Force};
use crate::spec::mount::label_pair;
use crate::state::Roots;
use clap::Subcommand;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Make, list and remove volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun volume create data; minirun run -v data:/data busybox touch /data/here")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a volume
    Create {
        /// What it is called [64 random hex digits]
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Note KEY=VALUE with it
        #[arg(short, long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// The only one is local
        #[arg(short, long, value_name = "DRIVER", hide = true)]
        driver: Option<String>,
        /// The local driver has none here
        #[arg(short, long, value_name = "KEY=VALUE", hide = true)]
        opt: Vec<String>,
    },
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        /// Names alone
        #[arg(short, long)]
        quiet: bool,
        /// Only some: name=, label= or dangling=true
        #[arg(short, long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// json, or a Go template: '{{.Name}}', 'table {{.Name}}\t{{.Labels}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Show all that is known of volumes, as JSON
    Inspect {
        /// json, or a Go template: '{{.Mountpoint}}'
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove volumes that no container has
    #[command(visible_alias = "remove")]
    Rm {
        /// One that is not there is no error
        #[arg(short, long)]
        force: bool,
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove all volumes without a name that no container has
    Prune {
        /// Those with a name, too
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Only some: label= or label!=
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        Verb::Create { name, label, driver, opt } => {
            if let Some(driver) = driver.as_deref().filter(|driver| *driver != "local") {
                return Err(Error::user(format!("there is no volume driver {driver:?}"))
                    .hint("volumes are local directories: mount it on the host and use run -v"));
            }
            if !opt.is_empty() {
                return Err(Error::user("volumes have no options").hint("mount it on the host and use run -v"));
            }
            let labels: Vec<_> = label.iter().map(|label| label_pair(label)).collect();
            ui::line(volume::create(roots, name.as_deref(), &labels)?.as_str())?;
            Ok(0)
        }
        Verb::Ls { quiet, filter, format } => list(roots, *quiet, filter, format.as_deref()),
        Verb::Inspect { format, names } => inspect(roots, names, format.as_deref()),
        Verb::Rm { force, names } => {
            let force = if *force { Force::Yes } else { Force::No };
            Ok(each(names, |name| {
                volume::remove(roots, name, force)?;
                ui::line(name)
            }))
        }
        Verb::Prune { all, force, filter } => prune(roots, *all, *force, filter),
    }
}

const LISTING: Listing = Listing {
    fields: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Label", ""),
    ],
    table: r"{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
};

fn list(roots: &Roots, quiet: bool, filter: &[String], format: Option<&str>) -> Result<u8> {
    let names = volume::list(roots, filter)?;
    // a listing of names looks into no record
    let whole = format.is_some_and(|format| !format.is_empty());
    let rows: Vec<Row> = names.iter().map(|name| fields(roots, name.as_str(), whole)).collect();
    format::print_rows(format, quiet, &LISTING, &rows)?;
    Ok(0)
}

/// A volume under docker's names; one whose record is broken has no more than its name.
fn fields(roots: &Roots, name: &str, whole: bool) -> Row {
    let known = if whole { volume::inspect(roots, name).unwrap_or_default() } else { Value::Null };
    let labels: BTreeMap<String, String> = serde_json::from_value(known["Labels"].clone()).unwrap_or_default();
    row([
        ("Name", name.into()),
        ("Driver", "local".into()),
        ("Scope", "local".into()),
        ("Mountpoint", known["Mountpoint"].as_str().unwrap_or_default().into()),
        ("Labels", format::pairs(&labels).into()),
        ("Label", json!(labels)),
    ])
}

fn inspect(roots: &Roots, names: &[String], format: Option<&str>) -> Result<u8> {
    format::print_each(names, format, |name| volume::inspect(roots, name))
}

fn prune(roots: &Roots, all: bool, force: bool, filter: &[String]) -> Result<u8> {
    if !force {
        if !ui::stdin_is_terminal() {
            return Err(Error::user("nobody is there to ask whether volumes shall be removed")
                .hint("minirun volume prune --force does not ask"));
        }
        let which = if all || volume::asks_for_all(filter)? { "all" } else { "anonymous" };
        ui::warning(&format!("this will remove {which} local volumes not used by at least one container"));
        if !ui::confirm("Are you sure you want to continue?")? {
            return Ok(0);
        }
    }
    let pruned = volume::prune(roots, all, filter)?;
    if !pruned.volumes.is_empty() {
        let names: String = pruned.volumes.iter().map(|name| format!("{name}\n")).collect();
        ui::print(&format!("Deleted Volumes:\n{names}\n"))?;
    }
    ui::line(&format!("Total reclaimed space: {}", ui::decimal(pruned.reclaimed)))?;
    Ok(0)
}
