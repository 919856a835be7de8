//! What minirun says of itself, and how it answers a line that it does not understand.

use super::{run, ui};
use crate::error::{Error, Kind, Result};
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// `minirun` alone: eight lines.
pub(super) const INTRODUCTION: &str = "\
minirun runs containers: one static binary, no daemon.

  minirun run hello                        a container of one file, nothing to download
  minirun run --rm -it busybox sh          a shell in a container
  minirun run --explain -p 8080:80 nginx   every step as the shell command that does the same

minirun --help lists the commands, minirun run --help all flags of run.
Containers need root; help, version and --explain do not.
";

/// `minirun --help`. By hand, for clap has no groups of commands; a test holds it to the commands that exist.
pub(super) const HELP: &str = "\
minirun runs containers: one static binary, no daemon

Usage: minirun [--root DIR] [--state DIR] COMMAND …

Containers:
  run        Run a command in a new container       minirun run -it busybox sh
  create     Make one without starting it           minirun create busybox sh
  start      Start what was created or has ended    minirun start web
  stop       Ask to end, kill what does not         minirun stop web
  restart    Stop and start again                   minirun restart web
  kill       Send a signal                          minirun kill -s HUP web
  attach     Stand in front of a running container  minirun attach web
  exec       Run a command in a running container   minirun exec -it web sh
  debug      A shell with tools beside a container  minirun debug web
  cp         Copy files into or out of a container  minirun cp web:/etc/hosts .
  diff       Changed files: its own, or of two      minirun diff a:1 a:2
  export     Write its root file system as a tar    minirun export -o w.tar web
  commit     Make an image of it                    minirun commit web site:2
  logs       Show what a container has said         minirun logs -f web
  pause      Make all its processes stand still     minirun pause web
  unpause    Let them go on                         minirun unpause web
  rename     Give it another name                   minirun rename web old
  wait       Wait for the end, print the exit code  minirun wait web
  update     Give it other limits                   minirun update -m 1g web
  top        Show its processes                     minirun top web
  stats      Show what running containers use       minirun stats --no-stream
  healthcheck Make its health check now             minirun healthcheck run web
  port       List published ports                   minirun port web
  ps         List containers                        minirun ps -a
  rm         Remove containers                      minirun rm -f web
  container  The same by docker's long forms        minirun container ls
  inspect    Show all that is known, as JSON        minirun inspect web

Images:
  pull       Get images from a registry             minirun pull alpine
  push       Put an image into a registry           minirun push site r.lan/site
  login      Keep a password for a registry         minirun login -u me ghcr.io
  logout     Forget it                              minirun logout ghcr.io
  images     List images                            minirun images
  load       Load an archive or OCI layout          minirun load -i busybox.tar
  save       Write images into an archive           minirun save -o b.tar hello
  copy       Copy between files and registries      minirun copy hello oci:dir
  import     Make an image of a root file system    minirun import d.tar debian
  unpack     Write its root file system into DIR    minirun unpack busybox root
  tag        Give an image one more name            minirun tag busybox tools:1
  verify     Check images against their digests     minirun verify
  history    Show how an image was made             minirun history busybox
  rmi        Remove images                          minirun rmi alpine
  image      Look into one: ls, cat, tree           minirun image ls hello /

Volumes:
  volume     Make, list, inspect, remove volumes    minirun volume ls
  network    The same for networks                  minirun network create net

To learn from:
  run --explain   Print the steps, do nothing       minirun run --explain hello
  compare         Show images side by side          minirun compare hello debian
  demo kernel     Show that all share one kernel    minirun demo kernel hello
  lab             Play experiments with networks    minirun lab run proxy-arp

Housekeeping:
  events     Show what happens, as it happens       minirun events --since 1h
  info       Show what this host offers, or lacks   minirun info --check
  repair     Undo what killed commands left behind  minirun repair
  system     df, prune, reset: what all of it takes minirun system df
  generate   Print units for systemd                minirun generate systemd web
  man        Print a manual page                    minirun man run | man -l -
  completion Make a shell complete such lines       minirun completion bash
  version    Show the version                       minirun version

Options:
  --root DIR     Images, volumes, records [env MINIRUN_ROOT; /var/lib/minirun]
  --state DIR    State, locks, journals [env MINIRUN_STATE; /run/minirun]
  --config FILE  Registries [env MINIRUN_CONFIG; /etc/minirun/config.toml]
  -h, --help     minirun COMMAND --help has all flags of one command
  -V, --version
";

/// Help and version are results; anything else that clap says is an error of one line and a hint.
pub(super) fn answer(error: &clap::Error, words: &[String], mut command: clap::Command) -> Result<u8> {
    command.build();
    match error.kind() {
        ErrorKind::DisplayVersion => ui::help(&error.render().ansi()).map(|()| 0),
        ErrorKind::DisplayHelp => ui::help(&help(words, &command).ansi()).map(|()| 0),
        // docker's groups do the same where no command is named
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ui::help_instead(&help(words, &command).ansi());
            Ok(0)
        }
        _ => Err(explain(error, &path(words, &command))),
    }
}

/// `-h` shows the common flags, `--help` and `help COMMAND` all of them; both a line each, which clap's own long
/// help is not.
fn help(words: &[String], command: &clap::Command) -> clap::builder::StyledStr {
    let Some(named) = path(words, command).last().copied() else { return clap::builder::StyledStr::new() };
    let mut named = named.clone();
    if !words.iter().any(|word| word == "-h") {
        let all = named.get_after_long_help().or(named.get_after_help()).cloned().unwrap_or_default();
        named = named.mut_args(|arg| arg.hide_short_help(false)).after_help(all);
    }
    // clap says "see more with '--help'", here as there
    let mut named = named.mut_arg("help", |arg| arg.help("Print help, --help all of it"));
    named.render_help()
}

/// The command and the subcommands that the words name, one in the other.
pub(super) fn path<'a>(words: &[String], command: &'a clap::Command) -> Vec<&'a clap::Command> {
    let mut path = vec![command];
    for word in words.iter().skip(1).take_while(|word| *word != "--").filter(|word| *word != "help") {
        let sub = path.last().and_then(|last| last.find_subcommand(word));
        path.extend(sub);
    }
    path
}

fn explain(error: &clap::Error, path: &[&clap::Command]) -> Error {
    // `network create`: `create` is a command, and no group that `network` could be missing in
    let known = path.iter().take_while(|named| named.has_subcommands()).count();
    let path = if error.kind() == ErrorKind::InvalidSubcommand { &path[..known.max(1)] } else { path };
    let command = path.get(1).map(|sub| sub.get_name());
    // a group's commands are listed by its help, and a verb's flags by its own
    let see = path.iter().skip(1).fold("minirun".to_owned(), |words, sub| format!("{words} {}", sub.get_name()));
    let see = format!("{see} --help");
    let given = context(error, ContextKind::InvalidArg);
    let usage = |message: String| Error::new(Kind::Usage, message);
    match (error.kind(), given) {
        (ErrorKind::UnknownArgument, Some(flag)) => {
            let flag = flag.split_once('=').map_or(flag.as_str(), |(flag, _)| flag);
            if let Some(error) = (command == Some("run")).then(|| run::unsupported(flag)).flatten() {
                return error;
            }
            if !flag.starts_with('-') {
                return usage(format!("one word too many: {flag}")).hint(see);
            }
            let hint = match context(error, ContextKind::SuggestedArg) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("{see} lists the flags"),
            };
            usage(format!("unknown flag {flag}")).hint(hint)
        }
        (ErrorKind::MissingRequiredArgument, Some(missing)) => {
            usage(format!("missing {}", missing.replace(['<', '>', '.'], ""))).hint(see)
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let said = command.map_or_else(|| word.clone(), |group| format!("{group} {word}"));
            if let Some((_, instead)) = LATER.iter().find(|(known, _)| *known == word) {
                return usage(format!("{said} is not supported yet")).hint(*instead);
            }
            let hint = match context(error, ContextKind::SuggestedSubcommand) {
                Some(near) => format!("did you mean {}?", near.replace(", ", " or ")),
                None => format!("{see} lists the commands"),
            };
            usage(format!("unknown command {said}")).hint(hint)
        }
        _ => usage(first_line(&error.render().to_string())).hint(see),
    }
}

/// docker's commands that are still to come, and what does it meanwhile.
const LATER: &[(&str, &str)] = &[
    ("build", "rootfs-builder makes images from the recipes in images/"),
    ("search", "look at the registry's web page"),
];

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}

/// clap's first line without its label.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{command, words};

    fn answer_to(line: &str) -> Error {
        let command = command();
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let words = words::in_clap_grammar(&argv, &command);
        let error = command.clone().try_get_matches_from(&words).expect_err(line);
        explain(&error, &path(&words, &command))
    }

    #[test]
    fn the_introduction_has_eight_lines() {
        assert_eq!(INTRODUCTION.lines().count(), 8);
    }

    #[test]
    fn help_names_every_command_and_fits_a_terminal() {
        let command = command();
        for sub in command.get_subcommands() {
            assert!(HELP.lines().any(|line| line.trim_start().starts_with(sub.get_name())), "{}", sub.get_name());
        }
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }

    fn help_of(line: &str) -> String {
        let mut command = command();
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        help(&words, &command).to_string()
    }

    #[test]
    fn the_short_help_of_run_is_one_screen_and_the_long_one_has_it_all() {
        let short = help_of("m run -h");
        assert!(short.lines().count() <= 40, "{short}");
        let long = help_of("m run --help");
        for part in ["Container:", "Process:", "Files:", "Network:", "Limits:", "Security:", "Look inside:", "--sysctl"]
        {
            assert!(long.contains(part), "{part}");
        }
        assert_eq!(help_of("m help run"), long);
        assert!(!short.contains("--sysctl") && long.lines().all(|line| line.chars().count() <= 100), "{long}");
    }

    #[test]
    fn every_command_has_an_example_but_version() {
        for sub in command().get_subcommands().map(|sub| sub.get_name().to_owned()).filter(|name| name != "version") {
            assert!(help_of(&format!("m {sub} --help")).contains("Example"), "{sub}");
        }
    }

    #[test]
    fn what_is_to_come_is_not_there_yet() {
        let command = command();
        assert!(LATER.iter().all(|(name, _)| command.find_subcommand(name).is_none()));
    }

    #[test]
    fn mistakes_get_one_line_and_a_hint() {
        for (line, message, hint) in [
            ("m run --bogus x", "unknown flag --bogus", "minirun run --help lists the flags"),
            ("m ps foo", "one word too many: foo", "minirun ps --help"),
            ("m run --interactiv x", "unknown flag --interactiv", "did you mean --interactive?"),
            ("m run --umask=22 x", "--umask is not supported yet", "set it in the command: sh -c 'umask 077; …'"),
            ("m rm", "missing CONTAINER", "minirun rm --help"),
            ("m search x", "search is not supported yet", "look at the registry's web page"),
            ("m rmm", "unknown command rmm", "did you mean rmi or rm?"),
            ("m network connect x", "missing CONTAINER", "minirun network connect --help"),
            ("m zzz create x", "unknown command zzz", "minirun --help lists the commands"),
            ("m container zzz", "unknown command container zzz", "minirun container --help lists the commands"),
            ("m image search x", "image search is not supported yet", "look at the registry's web page"),
            ("m volume lss", "unknown command volume lss", "did you mean list or ls?"),
            ("m volume ls --bogus", "unknown flag --bogus", "minirun volume ls --help lists the flags"),
            (
                "m run --cpu-shares many x",
                "invalid value 'many' for '--cpu-shares <N>': invalid digit found in string",
                "minirun run --help",
            ),
        ] {
            let error = answer_to(line);
            assert_eq!((error.message.as_str(), error.hint.as_deref()), (message, Some(hint)), "{line}");
        }
    }
}
