//! The command line of rootfs-builder: parses and prints, the only one here that does.
#![allow(clippy::print_stdout, clippy::print_stderr)] // results on stdout, errors on stderr: nobody else prints
#![allow(clippy::disallowed_methods)] // HOME, XDG_CACHE_HOME and the working directory are read here and passed on

use clap::{Args, Parser, Subcommand};
use minirun::error::{Error, Result};
use minirun::id::HostPath;
use rootfs_builder::apt::Sources;
use rootfs_builder::fetch::{Dropped, Shelf};
use rootfs_builder::{apt, contents, image, recipe};
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds reproducible OCI images from the recipes in images/
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build an image and print the digest of its manifest
    #[command(after_help = "Example: rootfs-builder build busybox --output /tmp/busybox")]
    Build {
        /// A folder of images/, or the path of a folder with a recipe.toml
        recipe: String,
        /// The OCI layout to write into; several images may share one
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// Take the .deb files from here and use no network
        #[arg(long, value_name = "DEBS")]
        from_dir: Option<PathBuf>,
        /// Latest time of any file, in seconds since 1970, in place of the recipe's
        #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
        epoch: Option<i64>,
        /// Where the sources have dropped a locked version, take what they have now: another digest than elsewhere
        #[arg(long, conflicts_with = "from_dir")]
        or_newest: bool,
        #[command(flatten)]
        packages: Packages,
    },
    /// Write the versions and digests that the sources have now into recipe.lock
    Lock {
        /// A folder of images/, or the path of a folder with a recipe.toml
        recipe: String,
        /// Write nothing: fail where the sources have other versions than the lock, and name them
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        packages: Packages,
    },
    /// List the recipes of images/: what each builds on, its packages with those below, user and program
    List,
    /// List what is in a built image: type, mode, owner, path
    Contents {
        /// The OCI layout
        layout: PathBuf,
        /// Which image of it, by its name: hello:latest
        name: Option<String>,
    },
}

#[derive(Args)]
struct Packages {
    /// Where fetched .deb files are kept [default: $XDG_CACHE_HOME/minirun/debs]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Fetch from here and not from the host's own sources: 'URL SUITE [COMPONENT…]'
    #[arg(long)]
    mirror: Option<String>,
    /// Debian's word for the architecture of the image
    #[arg(long, default_value = apt::host_architecture(), value_parser = ["amd64", "arm64"])]
    architecture: String,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            if let Some(hint) = e.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let here = std::env::current_dir().map_err(|e| Error::host(format!("the working directory is gone: {e}")))?;
    match command {
        Command::Build { recipe, output, from_dir, epoch, or_newest, packages } => {
            let output = absolute(&here.join(output))?;
            let recipe = image::recipe_of(&recipe, &here)?;
            let dropped = if or_newest { Dropped::TakeNewest } else { Dropped::Refuse };
            let built = image::build(&recipe, &Shelf { dropped, ..shelf(packages, from_dir)? }, epoch, &output)?;
            if !built.replaced.is_empty() {
                eprintln!("warning: not the locked packages: {}", built.replaced.join(", "));
            }
            println!("{}", built.manifest.digest);
        }
        Command::Lock { recipe, check: true, packages } => {
            image::check_lock(&image::recipe_of(&recipe, &here)?, &shelf(packages, None)?)?;
        }
        Command::Lock { recipe, check: false, packages } => {
            for package in image::lock(&image::recipe_of(&recipe, &here)?, &shelf(packages, None)?)? {
                println!("{} {} {}", package.name, package.version, package.architecture);
            }
        }
        Command::List => {
            println!("{:<10} {:<10} {:>8} {:<8} STARTS", "NAME", "FROM", "PACKAGES", "USER");
            for name in recipe::all(&here)? {
                let recipe = image::recipe_of(&name, &here)?;
                let image::Summary { from, packages, user, words } = image::summary(&recipe, apt::host_architecture())?;
                println!("{name:<10} {from:<10} {packages:>8} {user:<8} {}", words.join(" "));
            }
        }
        Command::Contents { layout, name } => print!("{}", contents::list(&layout, name.as_deref())?),
    }
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<HostPath> {
    HostPath::parse(path.to_str().ok_or_else(|| Error::user(format!("{path:?} is not UTF-8")))?)
}

fn shelf(packages: Packages, from_dir: Option<PathBuf>) -> Result<Shelf> {
    let cache = packages.cache.or_else(default_cache).ok_or_else(|| {
        Error::user("neither XDG_CACHE_HOME nor HOME is set").hint("say where .deb files are kept: --cache DIR")
    })?;
    let cache = std::path::absolute(&cache).map_err(|e| Error::user(format!("cache {}: {e}", cache.display())))?;
    let sources = Sources { mirror: packages.mirror, architecture: packages.architecture, cache: cache.clone() };
    Ok(Shelf { from_dir, cache, sources, dropped: Dropped::Refuse })
}

/// XDG base directory specification: an empty variable is as one that is not set.
fn default_cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("minirun/debs"))
}
