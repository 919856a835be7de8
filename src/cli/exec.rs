//! `minirun exec`.

use super::{caller, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::run;
use crate::spec::exec::ExecRequest;
use crate::state::Roots;

/// Run a command in a running container, as confined as the container is
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minirun exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    after_help = "Example: minirun exec -it web sh"
)]
pub(super) struct Args {
    /// Return as soon as it has started
    #[arg(short, long)]
    detach: bool,
    /// Keep the standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable, KEY alone takes yours
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Set the variables in FILE
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Run as this user of the container's /etc/passwd, or by number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Start in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// Keys that leave its terminal [ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// A name, an id or the unique beginning of one, and the command
    #[arg(required = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

pub(super) fn main(mut args: Args, roots: &Roots) -> Result<u8> {
    if args.tty && !args.detach && !ui::stdin_is_terminal() {
        return Err(Error::user("-t needs a terminal and the standard input is none").hint("leave out -t"));
    }
    let container = args.words.remove(0);
    if args.words.is_empty() {
        return Err(Error::new(Kind::Usage, "missing COMMAND").hint(format!("minirun exec -it {container} sh")));
    }
    let ran = run::exec(
        roots,
        &ExecRequest {
            container,
            command: args.words,
            env: caller::environment(&args.env_file, &args.env)?,
            workdir: caller::given(args.workdir.as_ref()),
            user: caller::given(args.user.as_ref()),
            interactive: args.interactive,
            tty: args.tty,
            detach: args.detach,
            privileged: args.privileged,
            detach_keys: caller::given(args.detach_keys.as_ref()),
        },
        &ui::Bars::new(ui::Show::Nothing),
    )?;
    Ok(super::ended(&ran))
}
