//! The command line: parses, calls one function of `ops`, prints. It knows what docker's users type, and nothing of
//! how a container is made.

mod attach;
mod caller;
mod commit;
mod compare;
mod complete;
mod copy;
mod cp;
mod create;
mod debug;
mod demo;
mod df;
mod diff;
mod events;
mod exec;
mod export;
mod format;
mod generate;
mod graph;
mod groups;
mod healthcheck;
mod history;
mod image;
mod images;
mod import;
mod info;
mod init;
mod inspect;
mod kill;
mod lab;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod network;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod rename;
mod repair;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod top;
pub mod ui;
mod unpack;
mod unpause;
mod update;
mod usage;
mod verify;
mod version;
mod volume;
mod wait;
mod words;

use crate::error::{Error, Kind, Result};
use crate::ops;
use crate::ops::attach::Ran;
use crate::state::Roots;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

/// A minimal container runtime: one static binary, no daemon
#[derive(Debug, Parser)]
#[command(name = "minirun", version, override_help = usage::HELP, disable_colored_help = false)]
struct Cli {
    /// Keep images, volumes and records in DIR
    #[arg(long, value_name = "DIR", env = "MINIRUN_ROOT")]
    root: Option<String>,
    /// Keep state, locks and journals in DIR
    #[arg(long, value_name = "DIR", env = "MINIRUN_STATE")]
    state: Option<String>,
    /// Read settings (mirrors, registries without TLS) from FILE
    #[arg(long, value_name = "FILE", env = "MINIRUN_CONFIG")]
    config: Option<String>,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Run(Box<run::Args>),
    /// Make a container without starting it
    #[command(
        override_usage = "minirun create [OPTIONS] IMAGE [COMMAND] [ARG...]",
        after_help = "Example: minirun create --name web -p 8080:80 busybox httpd -f"
    )]
    Create(Box<run::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Wait(wait::Args),
    Logs(logs::Args),
    Events(events::Args),
    Healthcheck(healthcheck::Args),
    Port(port::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Debug(debug::Args),
    Pause(pause::Args),
    Unpause(unpause::Args),
    Rename(rename::Args),
    Update(update::Args),
    Top(top::Args),
    Stats(stats::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Export(export::Args),
    Commit(commit::Args),
    Ps(ps::Args),
    Rm(rm::Args),
    Inspect(inspect::Args),
    Pull(pull::Args),
    Push(push::Args),
    Login(login::Args),
    Logout(logout::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Load(load::Args),
    Save(save::Args),
    Copy(copy::Args),
    Verify(verify::Args),
    Import(import::Args),
    Unpack(unpack::Args),
    Tag(tag::Args),
    History(history::Args),
    Image(image::Args),
    Compare(compare::Args),
    Volume(volume::Args),
    Network(network::Args),
    Demo(demo::Args),
    Lab(lab::Args),
    Generate(generate::Args),
    Completion(complete::Args),
    Man(man::Args),
    Info(info::Args),
    Version(version::Args),
    Repair(repair::Args),
    System(system::Args),
}

/// Everything from argv to the exit code.
pub fn main() -> ExitCode {
    match from_argv() {
        Ok(code) => ExitCode::from(code),
        Err(Failure { error, code }) => {
            ui::error(&error);
            ExitCode::from(code)
        }
    }
}

/// An error, and the exit code that the command gives it.
struct Failure {
    error: Error,
    code: u8,
}

fn from_argv() -> Result<u8, Failure> {
    let plain = |error: Error| Failure { code: code_of(&error, None), error };
    let argv: Vec<String> = caller::words()
        .into_iter()
        .map(|word| word.into_string())
        .collect::<std::result::Result<_, _>>()
        .map_err(|word| plain(Error::new(Kind::Usage, format!("the word {word:?} is not UTF-8"))))?;
    if let Some(words) = init::words(&argv) {
        return init::main(words).map_err(|error| Failure { code: error.exit_code(), error });
    }
    if speaks_oci(&argv) {
        let error = Error::user("the OCI runtime's commands are not supported yet");
        return Err(plain(error.hint("they come later; minirun run --rootfs DIR runs a directory")));
    }
    if argv.len() <= 1 {
        return ui::print(usage::INTRODUCTION).map(|()| 0).map_err(plain);
    }
    let mut command = short_commands();
    let first = words::flags_before_word(&argv[1..], &command).1.first();
    if first.is_none_or(|word| groups::is_group(word) || command.find_subcommand(word).is_none()) {
        command = groups::with_groups(command); // not always, for who runs containers waits for it
    }
    if argv[1] == complete::ASK {
        return complete::answer(&argv[2..], &command).map_err(plain);
    }
    let words = words::in_clap_grammar(&argv, &command);
    let name = usage::path(&words, &command).get(1).map(|sub| sub.get_name().to_owned());
    let fail = |error: Error| Failure { code: code_of(&error, name.as_deref()), error };
    let parsed = command.try_get_matches_from_mut(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => dispatch(cli).map_err(fail),
        Err(e) => usage::answer(&e, &words, command).map_err(fail),
    }
}

/// The whole grammar.
fn command() -> clap::Command {
    groups::with_groups(short_commands())
}

/// The grammar without the groups, which are long forms. Lists may be given again and again, everything else counts as it was given last, and a flag's value
/// may look like a flag: all as docker has it.
fn short_commands() -> clap::Command {
    let lenient = |arg: clap::Arg| {
        let takes = arg.get_action().takes_values() && !arg.is_positional();
        if takes { arg.allow_hyphen_values(true) } else { arg }
    };
    Cli::command().mut_subcommands(move |sub| sub.args_override_self(true).mut_args(lenient))
}

/// argv[0] `minirun-oci`, or `minirun oci …`: runc's grammar.
fn speaks_oci(argv: &[String]) -> bool {
    let called = argv.first().map(|name| name.rsplit('/').next().unwrap_or(name));
    called == Some("minirun-oci") || argv.get(1).is_some_and(|word| word == "oci")
}

/// Where the exit code is the container's own, ours are 125 to 127; elsewhere 1, and 2 for a line not understood.
fn code_of(error: &Error, command: Option<&str>) -> u8 {
    match (command, error.kind) {
        (Some("run" | "create" | "exec" | "debug"), _) => error.exit_code(),
        (_, Kind::Usage) => 2,
        _ => 1,
    }
}

fn dispatch(cli: Cli) -> Result<u8> {
    // a variable that is set to nothing is as good as not set
    let dir = |dir: Option<String>| dir.filter(|dir| !dir.is_empty()).map(|dir| caller::path(&dir)).transpose();
    let (logins, proxies) = (caller::logins(), caller::proxies());
    let roots = ops::roots(dir(cli.root)?, dir(cli.state)?, dir(cli.config)?, logins, proxies)?;
    if cli.command.as_ref().is_some_and(looks_at_networks)
        && let Some(line) = ops::reload::notice(&roots)
    {
        ui::warning(&line);
    }
    obey(cli.command, &roots)
}

/// Gives one command, written as one line without quotes, with these roots.
fn obey_line(line: &str, roots: &Roots) -> Result<u8> {
    obey(parse_line(line)?.command, roots)
}

fn parse_line(line: &str) -> Result<Cli> {
    let argv: Vec<String> = ["minirun"].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
    let mut command = short_commands();
    let words = words::in_clap_grammar(&argv, &command);
    let parsed = command.try_get_matches_from_mut(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|e| Error::internal(format!("{line}: {e}")))
}

fn obey(command: Option<Sub>, roots: &Roots) -> Result<u8> {
    match command {
        None => ui::print(usage::INTRODUCTION).map(|()| 0),
        Some(Sub::Run(args)) => run::main(&args, roots),
        Some(Sub::Create(args)) => create::main(&args, roots),
        Some(Sub::Start(args)) => start::main(&args, roots),
        Some(Sub::Stop(args)) => stop::main(&args, roots),
        Some(Sub::Restart(args)) => restart::main(&args, roots),
        Some(Sub::Attach(args)) => attach::main(&args, roots),
        Some(Sub::Pause(args)) => pause::main(&args, roots),
        Some(Sub::Unpause(args)) => unpause::main(&args, roots),
        Some(Sub::Rename(args)) => rename::main(&args, roots),
        Some(Sub::Top(args)) => top::main(&args, roots),
        Some(Sub::Stats(args)) => stats::main(&args, roots),
        Some(Sub::Update(args)) => update::main(&args, roots),
        Some(Sub::Kill(args)) => kill::main(&args, roots),
        Some(Sub::Wait(args)) => wait::main(&args, roots),
        Some(Sub::Logs(args)) => logs::main(&args, roots),
        Some(Sub::Events(args)) => events::main(&args, roots),
        Some(Sub::Healthcheck(args)) => healthcheck::main(&args, roots),
        Some(Sub::Port(args)) => port::main(&args, roots),
        Some(Sub::Exec(args)) => exec::main(args, roots),
        Some(Sub::Debug(args)) => debug::main(args, roots),
        Some(Sub::Cp(args)) => cp::main(&args, roots),
        Some(Sub::Diff(args)) => diff::main(&args, roots),
        Some(Sub::Export(args)) => export::main(&args, roots),
        Some(Sub::Commit(args)) => commit::main(args, roots),
        Some(Sub::Ps(args)) => ps::main(&args, roots),
        Some(Sub::Rm(args)) => rm::main(&args, roots),
        Some(Sub::Inspect(args)) => inspect::main(&args, roots),
        Some(Sub::Pull(args)) => pull::main(&args, roots),
        Some(Sub::Push(args)) => push::main(&args, roots),
        Some(Sub::Login(args)) => login::main(&args, roots),
        Some(Sub::Logout(args)) => logout::main(&args, roots),
        Some(Sub::Images(args)) => images::main(&args, roots),
        Some(Sub::Rmi(args)) => rmi::main(&args, roots),
        Some(Sub::Load(args)) => load::main(&args, roots),
        Some(Sub::Unpack(args)) => unpack::main(&args, roots),
        Some(Sub::Save(args)) => save::main(&args, roots),
        Some(Sub::Copy(args)) => copy::main(args, roots),
        Some(Sub::Verify(args)) => verify::main(&args, roots),
        Some(Sub::Import(args)) => import::main(args, roots),
        Some(Sub::Tag(args)) => tag::main(&args, roots),
        Some(Sub::History(args)) => history::main(&args, roots),
        Some(Sub::Image(args)) => image::main(&args, roots),
        Some(Sub::Compare(args)) => compare::main(&args, roots),
        Some(Sub::Volume(args)) => volume::main(&args, roots),
        Some(Sub::Network(args)) => network::main(&args, roots),
        Some(Sub::Completion(args)) => complete::main(&args),
        Some(Sub::Man(args)) => man::main(&args),
        Some(Sub::Generate(args)) => generate::main(&args, roots),
        Some(Sub::Demo(args)) => demo::main(&args, roots),
        Some(Sub::Lab(args)) => lab::main(&args, roots),
        Some(Sub::Info(args)) => info::main(&args, roots),
        Some(Sub::Version(args)) => version::main(&args),
        Some(Sub::Repair(args)) => repair::main(&args, roots),
        Some(Sub::System(args)) => system::main(&args, roots),
    }
}

/// Those that show what is reached over a network, or end it. Who starts something looks for himself.
fn looks_at_networks(command: &Sub) -> bool {
    match command {
        Sub::Ps(_) | Sub::Port(_) | Sub::Inspect(_) | Sub::Stats(_) | Sub::Stop(_) => true,
        Sub::Network(args) => args.looks(),
        _ => false,
    }
}

/// The exit code of what ran in front of us. A terminal that was left stands in the middle of a line.
fn ended(ran: &Ran) -> u8 {
    match ran {
        Ran::Exited(code) => *code,
        Ran::Left => {
            ui::left();
            0
        }
        Ran::Detached(_) => 0,
    }
}

/// Does the same to each name; failures are printed as they come and the rest still gets its turn.
fn each<'a>(names: &'a [String], mut act: impl FnMut(&'a str) -> Result<()>) -> u8 {
    let mut code = 0;
    for name in names {
        if let Err(error) = act(name) {
            ui::error(&error);
            code = 1;
        }
    }
    code
}

/// With `--force`, what is not there is as it was wanted: that is said, and is no failure.
fn or_absent<T: Default>(force: bool, done: Result<T>) -> Result<T> {
    match done {
        Err(error) if force && error.kind == Kind::NotFound => {
            ui::error(&error);
            Ok(T::default())
        }
        done => done,
    }
}

/// The same in two steps, the first of which is done to many before the second waits for each.
fn each_at_once<'a, T>(
    names: &'a [String],
    mut begin: impl FnMut(&'a str) -> T,
    mut end: impl FnMut(&'a str, T) -> Result<()>,
) -> u8 {
    const AT_ONCE: usize = 64; // each may hold descriptors
    names.chunks(AT_ONCE).fold(0, |code, names| {
        let mut begun = names.iter().map(|name| begin(name)).collect::<Vec<_>>().into_iter();
        code | each(names, |name| begun.next().map_or(Ok(()), |begun| end(name, begun)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_oci_dialect_is_reserved() {
        for (line, oci) in [
            ("minirun-oci create x", true),
            ("/usr/bin/minirun-oci", true),
            ("minirun oci x", true),
            ("minirun run oci", false),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(speaks_oci(&argv), oci, "{line}");
        }
    }

    #[test]
    fn only_run_and_exec_have_dockers_codes() {
        for (kind, command, code) in [
            (Kind::Usage, Some("run"), 125),
            (Kind::CommandNotFound, Some("exec"), 127),
            (Kind::User, Some("rm"), 1),
            (Kind::Usage, Some("rm"), 2),
            (Kind::Usage, None, 2),
        ] {
            assert_eq!(code_of(&Error::new(kind, "x"), command), code);
        }
    }
}
