//! What the last word of an unfinished line is going to be: a command, a flag, a flag's value, an argument. Pure: the
//! words and the grammar in, the answer out; the shells' scripts know nothing of either.

use crate::cli::words::{self, ENDS_FLAGS, Value, is_flag, last_flag};
use clap::{Arg, Command};

/// Where a line stands.
#[derive(Debug)]
pub(super) struct Position<'a> {
    /// The command and its verb: `volume rm`; empty before there is one.
    pub path: Vec<&'a str>,
    /// The flags before it that have a value, by their ids.
    pub given: Vec<(&'a str, String)>,
    /// The arguments before it.
    pub arguments: Vec<String>,
    pub wanted: Wanted<'a>,
}

/// What belongs there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// A command of this one.
    Command(&'a Command),
    /// A flag of it.
    Flag(&'a Command),
    /// The value of a flag, behind `--flag=` where it is one word with it; or an argument.
    Value { of: &'a Arg, behind: usize },
    /// Something that minirun knows nothing of: a word of a container's command.
    Unknown,
}

/// Reads the words behind `minirun`, the last of which is not complete.
pub(super) fn position<'a>(words: &[String], root: &'a Command) -> Position<'a> {
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let (flags, rest) = words::flags_before_word(before, root);
    let before = [&flags[..], &words::short_form(rest)].concat();
    let mut at = Scan::new(root);
    before.iter().for_each(|word| at.pass(word));
    let wanted = at.wanted(last);
    Position { path: at.path, given: at.given, arguments: at.arguments, wanted }
}

struct Scan<'a> {
    command: &'a Command,
    path: Vec<&'a str>,
    given: Vec<(&'a str, String)>,
    arguments: Vec<String>,
    /// The flag whose value is the next word.
    flag: Option<&'a Arg>,
    /// Flags may still come.
    flags: bool,
    /// `help` went before: commands alone may come.
    help: bool,
}

impl<'a> Scan<'a> {
    fn new(command: &'a Command) -> Scan<'a> {
        let (path, given, arguments) = (Vec::new(), Vec::new(), Vec::new());
        Scan { command, path, given, arguments, flag: None, flags: true, help: false }
    }

    fn pass(&mut self, word: &str) {
        if let Some(arg) = self.flag.take() {
            self.given.push((arg.get_id().as_str(), word.to_owned()));
        } else if self.flags && word == "--" {
            self.flags = false;
        } else if self.flags && is_flag(word) {
            match last_flag(word, self.command) {
                Some(found) if found.value == Value::NextWord => self.flag = Some(found.arg),
                Some(found) if found.value == Value::Attached => {
                    let value = word.split_once('=').map_or("", |(_, value)| value);
                    self.given.push((found.arg.get_id().as_str(), value.to_owned()));
                }
                _ => {}
            }
        } else if word == "help" && self.command.has_subcommands() {
            self.help = true;
        } else if let Some(sub) = self.command.find_subcommand(word).filter(|_| self.arguments.is_empty()) {
            self.command = sub;
            self.path.push(sub.get_name());
        } else {
            self.arguments.push(word.to_owned());
            self.flags &= !self.command_ends_flags();
        }
    }

    fn command_ends_flags(&self) -> bool {
        self.path.last().is_some_and(|name| ENDS_FLAGS.contains(name))
    }

    fn wanted(&self, word: &str) -> Wanted<'a> {
        if let Some(of) = self.flag {
            return Wanted::Value { of, behind: 0 };
        }
        if self.help {
            return Wanted::Command(self.command);
        }
        if self.flags && word.starts_with('-') {
            return match (last_flag(word, self.command), word.find('=')) {
                (Some(found), Some(equals)) if found.value == Value::Attached && word.starts_with("--") => {
                    Wanted::Value { of: found.arg, behind: equals + 1 }
                }
                (_, Some(_)) => Wanted::Unknown,
                _ => Wanted::Flag(self.command),
            };
        }
        if self.command.has_subcommands() {
            return if self.arguments.is_empty() { Wanted::Command(self.command) } else { Wanted::Unknown };
        }
        match self.argument() {
            Some(of) => Wanted::Value { of, behind: 0 },
            None => Wanted::Unknown,
        }
    }

    /// The argument that comes next; the last one where there may be many of it.
    fn argument(&self) -> Option<&'a Arg> {
        let places: Vec<&Arg> = self.command.get_positionals().collect();
        let (had, last) = (self.arguments.len(), *places.last()?);
        if self.command_ends_flags() && (had > 0 || self.given.iter().any(|(id, _)| *id == "rootfs")) {
            return None;
        }
        let many = last.get_num_args().is_some_and(|range| range.max_values() > 1)
            || matches!(last.get_action(), clap::ArgAction::Append);
        places.get(had).copied().or(many.then_some(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `command container`, `flag run`, `value volume rm NAME`
    fn said(line: &str) -> String {
        let words: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
        let root = crate::cli::command();
        let at = position(&words, &root);
        let path = at.path.join(" ");
        match at.wanted {
            Wanted::Command(of) => format!("command {}", of.get_name()),
            Wanted::Flag(of) => format!("flag {}", of.get_name()),
            Wanted::Value { of, behind } => format!("{path} {} {behind}", of.get_id()),
            Wanted::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn a_line_is_read_as_far_as_it_goes() {
        for (line, want) in [
            ("m ", "command minirun"),
            ("m ru", "command minirun"),
            ("m -", "flag minirun"),
            ("m --root ", " root 0"),
            ("m --root=/x", " root 7"),
            ("m --root /x container ", "command container"),
            ("m container ls -", "flag ps"),
            ("m container exec ", "exec words 0"),
            ("m image rm x ", "rmi images 0"),
            ("m image inspect ", "inspect names 0"),
            ("m container prune -", "flag prune"),
            ("m run ", "run words 0"),
            ("m run --rm -it ", "run words 0"),
            ("m run --name ", "run name 0"),
            ("m run --name web ", "run words 0"),
            ("m run --restart=on", "run restart 10"),
            ("m run --net=", "run network 6"),
            ("m run --net ", "run network 0"),
            ("m run -p 80:80 -v ", "run volume 0"),
            ("m run -itv ", "run volume 0"),
            ("m run busybox ", "unknown"),
            ("m run busybox -", "unknown"),
            ("m run --rootfs / ", "unknown"),
            ("m run -- ", "run words 0"),
            ("m run --rm=", "unknown"),
            ("m run --bogus ", "run words 0"),
            ("m exec web ls ", "unknown"),
            ("m stop a b ", "stop containers 0"),
            ("m stop a -", "flag stop"),
            ("m rename a b ", "unknown"),
            ("m cp web:/x ", "cp to 0"),
            ("m volume ", "command volume"),
            ("m volume rm a ", "volume rm names 0"),
            ("m help ", "command minirun"),
            ("m help vol", "command minirun"),
            ("m help volume ", "command volume"),
            ("m help container ls", "command container"),
            ("m bogus ", "unknown"),
            ("m ps ", "unknown"),
        ] {
            assert_eq!(said(line), want, "{line}");
        }
    }
}
