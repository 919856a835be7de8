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
  exec       Run a command in a running container   minirun exec -it web sh
  ps         List containers                        minirun ps -a
  rm         Remove containers                      minirun rm -f web
  inspect    Show all that is known, as JSON        minirun inspect web

Images:
  pull       Get images from a registry             minirun pull alpine
  images     List images                            minirun images
  load       Load an archive or OCI layout          minirun load -i busybox.tar
  import     Make an image of a root file system    minirun import root.tar debian
  rmi        Remove images                          minirun rmi alpine

To learn from:
  run --explain   Print the steps, do nothing       minirun run --explain busybox
  demo kernel     Show that all share one kernel    minirun demo kernel hello

Housekeeping:
  info       Show what this host offers             minirun info
  repair     Undo what killed commands left behind  minirun repair
  system     Remove all that minirun ever made      minirun system reset
  version    Show the version                       minirun version

Options:
  --root DIR    Images, volumes and records [env MINIRUN_ROOT, /var/lib/minirun]
  --state DIR   State, locks and journals [env MINIRUN_STATE, /run/minirun]
  -h, --help    minirun COMMAND --help has all flags of one command
  -V, --version
";

/// Help and version are results; anything else that clap says is an error of one line and a hint.
pub(super) fn answer(error: &clap::Error, command: Option<&str>) -> Result<u8> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ui::print(&error.render().ansi().to_string()).map(|()| 0),
        _ => Err(explain(error, command)),
    }
}

fn explain(error: &clap::Error, command: Option<&str>) -> Error {
    let see = match command {
        Some(command) => format!("minirun {command} --help"),
        None => "minirun --help".to_owned(),
    };
    let given = context(error, ContextKind::InvalidArg);
    let usage = |message: String| Error::new(Kind::Usage, message);
    match (error.kind(), given) {
        (ErrorKind::UnknownArgument, Some(flag)) => {
            let flag = flag.split_once('=').map_or(flag.as_str(), |(flag, _)| flag);
            if let Some(error) = (command == Some("run")).then(|| run::unsupported(flag)).flatten() {
                return error;
            }
            let hint = match context(error, ContextKind::SuggestedArg) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("{see} lists the flags"),
            };
            usage(format!("unknown flag {flag}")).hint(hint)
        }
        (ErrorKind::MissingRequiredArgument, Some(missing)) => usage(format!("missing {missing}")).hint(see),
        (ErrorKind::InvalidSubcommand, _) => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = match context(error, ContextKind::SuggestedSubcommand) {
                Some(near) => format!("did you mean {}?", near.replace(", ", " or ")),
                None => format!("{see} lists the commands"),
            };
            usage(format!("unknown command {word}")).hint(hint)
        }
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            usage(format!("{} needs a command", command.unwrap_or("minirun"))).hint(see)
        }
        _ => usage(first_line(&error.render().to_string())).hint(see),
    }
}

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
        let mut command = command();
        command.build();
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let words = words::in_clap_grammar(&argv, &command);
        let name = argv.get(1).filter(|name| command.find_subcommand(name).is_some()).cloned();
        let error = command.try_get_matches_from(words).expect_err(line);
        explain(&error, name.as_deref())
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

    #[test]
    fn mistakes_get_one_line_and_a_hint() {
        for (line, message, hint) in [
            ("m run --bogus x", "unknown flag --bogus", "minirun run --help lists the flags"),
            ("m run --interactiv x", "unknown flag --interactiv", "did you mean --interactive?"),
            ("m run --volumes-from=a x", "--volumes-from is not supported yet", "give each container the same -v"),
            ("m rm", "missing <CONTAINER>...", "minirun rm --help"),
            ("m rmm", "unknown command rmm", "did you mean rmi or rm?"),
            ("m system", "system needs a command", "minirun system --help"),
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
