//! `minirun volume`.

use super::{each, ui};
use crate::error::{Error, Result};
use crate::ops::volume::{self, Filter, Force};
use crate::spec::mount::label_pair;
use crate::state::Roots;
use clap::Subcommand;

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
    },
    /// Show all that is known of volumes, as JSON
    Inspect {
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
        Verb::Ls { quiet, filter } => list(roots, *quiet, filter),
        Verb::Inspect { names } => inspect(roots, names),
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

fn filters(words: &[String]) -> Result<Vec<Filter>> {
    words.iter().map(|word| Filter::parse(word)).collect()
}

fn list(roots: &Roots, quiet: bool, filter: &[String]) -> Result<u8> {
    let names = volume::list(roots, &filters(filter)?)?;
    if quiet {
        ui::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = names.iter().map(|name| vec!["local".to_owned(), name.to_string()]).collect();
    ui::table(&["DRIVER", "VOLUME NAME"], &rows)?;
    Ok(0)
}

/// One array for all that were found, even where one was not.
fn inspect(roots: &Roots, names: &[String]) -> Result<u8> {
    let mut found = Vec::new();
    let code = each(names, |name| {
        found.push(volume::inspect(roots, name)?);
        Ok(())
    });
    let text = serde_json::to_string_pretty(&found).map_err(|e| Error::internal(format!("inspect: {e}")))?;
    ui::print(&format!("{text}\n"))?;
    Ok(code)
}

fn prune(roots: &Roots, all: bool, force: bool, filter: &[String]) -> Result<u8> {
    let filters = filters(filter)?;
    if !force {
        if !ui::stdin_is_terminal() {
            return Err(Error::user("nobody is there to ask whether volumes shall be removed")
                .hint("minirun volume prune --force does not ask"));
        }
        let which = if all || filters.contains(&Filter::All(true)) { "all" } else { "anonymous" };
        ui::warning(&format!("this will remove {which} local volumes not used by at least one container"));
        if !ui::confirm("Are you sure you want to continue?")? {
            return Ok(0);
        }
    }
    let pruned = volume::prune(roots, all, &filters)?;
    if !pruned.volumes.is_empty() {
        let names: String = pruned.volumes.iter().map(|name| format!("{name}\n")).collect();
        ui::print(&format!("Deleted Volumes:\n{names}\n"))?;
    }
    ui::line(&format!("Total reclaimed space: {}", ui::size(pruned.reclaimed)))?;
    Ok(0)
}
