//! Completion for shells: `minirun completion SHELL` prints a small script that asks `minirun __complete` what may
//! stand at the end of the line. The answer is the same for all shells, and comes from the grammar that parses.

mod position;
mod values;

use super::{caller, ui};
use crate::error::Result;
use crate::ops;
use clap::{Arg, Command};
use position::{Wanted, position};
use values::{Offer, Then};

/// Print the script that makes a shell complete minirun's lines
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(minirun completion bash)                               in ~/.bashrc
  minirun completion zsh >/usr/local/share/zsh/site-functions/_minirun
  minirun completion fish >~/.config/fish/completions/minirun.fish")]
pub(super) struct Args {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn main(args: &Args) -> Result<u8> {
    ui::print(match args.shell {
        Shell::Bash => include_str!("minirun.bash"),
        Shell::Zsh => include_str!("minirun.zsh"),
        Shell::Fish => include_str!("minirun.fish"),
    })?;
    Ok(0)
}

/// What a shell's script calls, with the words behind `minirun` up to the cursor.
pub(super) const ASK: &str = "__complete";

/// The answer: a line that says how to go on (`blank`, `more`, `files`, `directories`), then a line for each word that
/// may stand there, with a tab and a few words on it. A shell that asks wants no errors.
pub(super) fn answer(words: &[String], command: &Command) -> Result<u8> {
    let typed = words.last().map_or("", String::as_str);
    let Offer { then, words } = offer(words, typed, command);
    let mut text = match then {
        Then::Blank => "blank\n",
        Then::More => "more\n",
        Then::Files => "files\n",
        Then::Directories => "directories\n",
    }
    .to_owned();
    for (word, about) in words.iter().filter(|(word, _)| word.starts_with(typed)) {
        let about = ui::printable(about.lines().next().unwrap_or_default());
        text += &if about.is_empty() { format!("{word}\n") } else { format!("{word}\t{about}\n") };
    }
    ui::stream(false, &text)?;
    Ok(0)
}

fn offer(words: &[String], typed: &str, command: &Command) -> Offer {
    let at = position(words, command);
    let words = match at.wanted {
        Wanted::Command(of) => commands(of),
        Wanted::Flag(of) => flags(of),
        Wanted::Unknown => Vec::new(),
        Wanted::Value { of, .. } if at.path == ["man"] && of.is_positional() => commands(command),
        Wanted::Value { of, behind } => {
            let (before, typed) = typed.split_at(behind);
            let Some(roots) = roots(&at.given) else { return Offer { then: Then::Blank, words: Vec::new() } };
            let offer = values::values(of, &at, typed, &roots);
            // what is there already is not meant again
            let new = |word: &String| !of.is_positional() || !at.arguments.contains(word);
            let words = offer.words.into_iter().filter(|(word, _)| new(word));
            let words = words.map(|(word, about)| (format!("{before}{word}"), about)).collect();
            return Offer { words, ..offer };
        }
    };
    Offer { then: Then::Blank, words }
}

/// As the line says, or the environment.
fn roots(given: &[(&str, String)]) -> Option<crate::state::Roots> {
    let dir = |id: &str, key: &str| {
        let said = given.iter().rev().find(|(known, _)| *known == id).map(|(_, value)| value.clone());
        said.or_else(|| caller::variable(key)).and_then(|dir| caller::path(&dir).ok())
    };
    ops::roots(dir("root", "MINIRUN_ROOT"), dir("state", "MINIRUN_STATE"), None, Vec::new(), Default::default()).ok()
}

fn text(about: Option<&clap::builder::StyledStr>) -> String {
    about.map(ToString::to_string).unwrap_or_default()
}

fn commands(of: &Command) -> Vec<(String, String)> {
    let shown = of.get_subcommands().filter(|sub| !sub.is_hide_set());
    shown.map(|sub| (sub.get_name().to_owned(), text(sub.get_about()))).collect()
}

/// All of them by their long names; those with a short one alone, too.
fn flags(of: &Command) -> Vec<(String, String)> {
    let shown: Vec<&Arg> = of.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).collect();
    let long = shown.iter().filter_map(|arg| Some((format!("--{}", arg.get_long()?), text(arg.get_help()))));
    let short = shown.iter().filter_map(|arg| Some((format!("-{}", arg.get_short()?), text(arg.get_help()))));
    let help = [("--help".to_owned(), "Print help".to_owned())];
    long.chain(help).chain(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
        let typed = words.last().unwrap().clone();
        let offer = offer(&words, &typed, &super::super::command());
        offer.words.into_iter().map(|(word, _)| word).filter(|word| word.starts_with(&typed)).collect()
    }

    #[test]
    fn commands_flags_and_words_come_from_the_grammar() {
        for (line, want) in [
            ("m st", &["start", "stop", "stats"][..]),
            ("m container st", &["start", "stats", "stop"]),
            ("m volume r", &["rm"]),
            ("m help tag", &["tag"]),
            (
                "m run --cpu",
                &["--cpus", "--cpu-shares", "--cpu-period", "--cpu-quota", "--cpuset-cpus", "--cpuset-mems"],
            ),
            ("m run --restart on", &["on-failure"]),
            ("m run --restart=on", &["--restart=on-failure"]),
            ("m update --restart al", &["always"]),
            ("m run --net=n", &["--net=none"]),
            ("m kill -s US", &["USR1", "USR2"]),
            ("m run --stop-signal TER", &["TERM"]),
            ("m run --cap-add NET_A", &["NET_ADMIN"]),
            ("m run --log-driver ", &["json-file", "none"]),
            ("m ps --filter st", &["status="]),
            ("m network graph --format ", &["text", "mermaid", "dot", "svg", "json"]),
            ("m inspect --type ", &["container", "image", "volume", "network"]),
            ("m man vol", &["volume"]),
            ("m completion ", &["bash", "zsh", "fish"]),
            ("m run --explain=", &["--explain=text", "--explain=json"]),
            ("m system prune --onl", &[]),
            ("m run --no-such", &[]),
        ] {
            assert_eq!(offered(line), want, "{line}");
        }
    }

    #[test]
    fn hidden_things_are_not_offered() {
        assert!(offered("m ").iter().all(|word| !word.starts_with("__")));
        assert!(offered("m start -").contains(&"--restart-policy".to_owned()));
        assert!(!offered("m start -").contains(&"--again".to_owned()));
    }
}
