//! `minirun login`.

use super::ui;
use crate::error::{Error, Kind, Result};
use crate::ops::registry;
use crate::state::Roots;

/// Keep a name and a password for a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun login -u me --password-stdin ghcr.io <token")]
pub(super) struct Args {
    /// The name there; asked for where it is missing
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password: others can read it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from the standard input
    #[arg(long)]
    password_stdin: bool,
    /// Where to: ghcr.io, host:5000
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    server: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let cannot = || {
        let error = Error::new(Kind::Usage, "nobody is there to type name and password");
        error.hint("minirun login -u NAME --password-stdin REGISTRY <FILE")
    };
    let name = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin || !ui::stdin_is_terminal() => return Err(cannot()),
        None => ui::question("Username: ")?,
    };
    let password = match &args.password {
        Some(password) => {
            ui::warning("a password on the command line stands in the list of processes: use --password-stdin");
            password.clone()
        }
        None if args.password_stdin => ui::answer()?,
        None if !ui::stdin_is_terminal() => return Err(cannot()),
        None => ui::secret("Password: ")?,
    };
    let file = registry::login(roots, &args.server, name.trim(), password.trim_end_matches(['\r', '\n']))?;
    ui::note(&format!("The login is kept in {file}"));
    ui::line("Login Succeeded")?;
    Ok(0)
}
