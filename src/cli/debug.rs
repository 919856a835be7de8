//! `minirun debug`.

use super::{caller, ui};
use crate::error::{Error, Result};
use crate::ops::debug::{self, DebugRequest};
use crate::ops::run::{self, Ran};
use crate::state::Roots;

/// The image that minirun's own examples use: small, and has a shell.
const TOOLS: &str = "busybox";

/// Run a shell, or a command, with tools of its own beside a running container
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minirun debug [OPTIONS] CONTAINER [COMMAND] [ARG...]",
    after_help = "\
It sees the container's processes, network, ipc and host name; its files are those of the
image with the tools, and the container's are below /proc/1/root. It goes with this command.

Examples: minirun debug web
          minirun debug --image netshoot --cap-add NET_RAW web tcpdump -i eth0"
)]
pub(super) struct Args {
    /// The image with the tools
    #[arg(long, value_name = "IMAGE", default_value = TOOLS)]
    image: String,
    /// Keep the standard input open [where it is a terminal]
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal [where you sit at one]
    #[arg(short, long)]
    tty: bool,
    /// Set a variable, KEY alone takes yours
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Set the variables in FILE
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Run as this user of the tools' /etc/passwd, or by number [root]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Start in this directory of the tools
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Add a capability to the container's and SYS_PTRACE
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// With all capabilities and devices
    #[arg(long)]
    privileged: bool,
    /// A name, an id or the unique beginning of one, and the command [sh]
    #[arg(required = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

pub(super) fn main(mut args: Args, roots: &Roots) -> Result<u8> {
    let person = ui::stdin_is_terminal();
    if args.tty && !person {
        return Err(Error::user("-t needs a terminal and the standard input is none").hint("leave out -t"));
    }
    let container = args.words.remove(0);
    let tty = args.tty || (person && ui::stdout_is_terminal());
    let asked = DebugRequest {
        image: args.image,
        command: args.words,
        interactive: args.interactive || person,
        tty,
        env: caller::environment(&args.env_file, &args.env)?,
        workdir: args.workdir,
        user: args.user,
        cap_add: args.cap_add,
        privileged: args.privileged,
        container,
    };
    let bars = ui::Bars::new(ui::Show::Bars);
    let debug = debug::debug(roots, &asked, &bars)?;
    if tty {
        ui::note(&format!(
            "the files of {} are below {}, those here are {}'s",
            asked.container, debug.root, asked.image
        ));
    }
    Ok(match run::run(roots, &debug.request, &bars)? {
        Ran::Exited(code) => code,
        Ran::Left | Ran::Detached(_) => 0,
    })
}
