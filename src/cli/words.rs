//! docker's grammar where clap's differs: `--rm=true`, `container ls`, and everything behind IMAGE belongs to the
//! command. Pure: words in, words out, before clap sees them.

use super::groups;
use clap::{Arg, Command};

/// Commands whose first word ends their flags.
pub(super) const ENDS_FLAGS: &[&str] = &["run", "create", "exec", "debug"];

/// The words in clap's grammar. `command` need not be built: --help, which it has not then, ends the scan like an
/// unknown flag, and is clap's to answer.
pub(super) fn in_clap_grammar(words: &[String], command: &Command) -> Vec<String> {
    let Some((name, rest)) = words.split_first() else { return Vec::new() };
    let mut done = vec![name.clone()];
    let (flags, rest) = flags_before_word(rest, command);
    done.extend(flags);
    let rest = short_form(rest);
    let Some((subcommand, rest)) = rest.split_first() else { return done };
    if subcommand == "-v" {
        done.push("--version".to_owned()); // docker's
        return done;
    }
    done.push(subcommand.clone());
    match command.find_subcommand(subcommand).filter(|_| ENDS_FLAGS.contains(&subcommand.as_str())) {
        Some(known) => {
            let (flags, rest) = flags_before_word(rest, known);
            done.extend(flags);
            if rest.first().is_some_and(|word| !is_flag(word)) {
                done.push("--".to_owned());
            }
            done.extend_from_slice(rest);
        }
        None => done.extend(rest.iter().filter_map(|word| plain_word(word, command, subcommand))),
    }
    done
}

/// `container ls` is `ps`, and `help container ls` is `help ps`.
pub(super) fn short_form(words: &[String]) -> std::borrow::Cow<'_, [String]> {
    let owned = |words: &[&str], rest: &[String]| {
        words.iter().map(|word| (*word).to_owned()).chain(rest.iter().cloned()).collect::<Vec<_>>().into()
    };
    match words {
        [help, group, verb, rest @ ..] | [group, help, verb, rest @ ..] if help == "help" => {
            let Some(short) = groups::short_form(group, verb, &[]) else { return words.into() };
            let named: Vec<&str> = short.split(' ').filter(|word| !is_flag(word)).collect();
            owned(&[&["help"], &named[..]].concat(), rest)
        }
        [group, verb, rest @ ..] => match groups::short_form(group, verb, rest) {
            Some(short) => owned(&short.split(' ').collect::<Vec<_>>(), rest),
            None => words.into(),
        },
        _ => words.into(),
    }
}

pub(super) fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// The flags with their values up to the first word that is none, and the rest. An unknown flag ends it, too: clap
/// will name it.
pub(super) fn flags_before_word<'a>(words: &'a [String], command: &Command) -> (Vec<String>, &'a [String]) {
    let mut flags = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| is_flag(word) && *word != "--") {
        // in `-ith NAME` the letters before are flags of their own
        let (before, named) = match word.find('h').filter(|_| !word.starts_with("--")) {
            Some(at) if plain(&word[1..at], command) => (&word[1..at], format!("-{}", &word[at..])),
            _ => ("", word.clone()),
        };
        if let Some(name) = short_hostname(&named, words.get(at + 1), command) {
            flags.extend((!before.is_empty()).then(|| format!("-{before}")));
            flags.extend(["--hostname".to_owned(), name.to_owned()]);
            at += if named == "-h" { 2 } else { 1 };
            continue;
        }
        let Some(flag) = last_flag(word, command) else { break };
        flags.extend(one_flag(word, flag.arg));
        at += 1;
        if flag.value == Value::NextWord {
            flags.extend(words.get(at).cloned());
            at += 1;
        }
    }
    (flags, words.get(at..).unwrap_or_default())
}

/// Whether each letter is a flag without a value.
fn plain(letters: &str, command: &Command) -> bool {
    let is_plain = |letter| {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        arg.is_some_and(|arg| !arg.get_action().takes_values())
    };
    letters.chars().all(is_plain)
}

/// docker's `-h NAME` names the host; where no word follows, `-h` is help as everywhere.
fn short_hostname<'a>(word: &'a str, next: Option<&'a String>, command: &Command) -> Option<&'a str> {
    let attached = word.strip_prefix("-h").filter(|_| command.get_arguments().any(|arg| arg.get_id() == "hostname"))?;
    match attached.strip_prefix('=').unwrap_or(attached) {
        "" => next.map(String::as_str),
        name => Some(name),
    }
}

/// Where a flag's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Attached,
    NextWord,
}

pub(super) struct Flag<'a> {
    pub arg: &'a Arg,
    pub value: Value,
}

/// The flag in `--name`, `--name=value`; in `-abc` the first that takes a value, for the rest is that value, or the last.
pub(super) fn last_flag<'a>(word: &str, command: &'a Command) -> Option<Flag<'a>> {
    let value = |arg: &Arg, attached: bool| match arg.get_action().takes_values() {
        false => Value::None,
        true if attached => Value::Attached,
        true if arg.is_require_equals_set() => Value::None,
        true => Value::NextWord,
    };
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split_once('=').map_or(long, |(name, _)| name);
        let named =
            |arg: &&Arg| arg.get_long() == Some(name) || arg.get_all_aliases().unwrap_or_default().contains(&name);
        let arg = command.get_arguments().find(named)?;
        return Some(Flag { arg, value: value(arg, long.contains('=')) });
    }
    let mut last = None;
    for (at, short) in word.char_indices().skip(1).take_while(|(_, c)| *c != '=') {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(short))?;
        last = Some(Flag { arg, value: value(arg, at + short.len_utf8() < word.len()) });
        if arg.get_action().takes_values() {
            break;
        }
    }
    last
}

/// Go's flags take `--rm=true` and `--rm=false`; clap's take no value: the first is the flag, the second is no word.
fn one_flag(word: &str, arg: &Arg) -> Option<String> {
    if arg.get_action().takes_values() {
        return Some(word.to_owned());
    }
    match word.split_once('=') {
        Some((flag, "true" | "1" | "t" | "T" | "TRUE" | "True")) => Some(flag.to_owned()),
        // in `-it=false` the value is the last one's
        Some((flag, "false" | "0" | "f" | "F" | "FALSE" | "False")) => {
            let others = flag.strip_suffix(|_: char| true).filter(|rest| !flag.starts_with("--") && rest.len() > 1);
            others.map(str::to_owned)
        }
        // anything else is clap's to refuse
        _ => Some(word.to_owned()),
    }
}

/// The same for one word of another command, whose flags may stand anywhere.
fn plain_word(word: &str, command: &Command, subcommand: &str) -> Option<String> {
    let known = command.find_subcommand(subcommand).filter(|_| is_flag(word));
    match known.and_then(|known| last_flag(word, known)) {
        Some(flag) => one_flag(word, flag.arg),
        None => Some(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let command = crate::cli::command();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        in_clap_grammar(&words, &command).join(" ")
    }

    #[test]
    fn flags_end_at_the_first_word_of_run_and_exec() {
        for (line, want) in [
            ("m run busybox", "m run -- busybox"),
            ("m run --rm busybox ls -l --rm", "m run --rm -- busybox ls -l --rm"),
            ("m run -it --rm busybox sh", "m run -it --rm -- busybox sh"),
            ("m run -e A=1 -eB=2 busybox -e", "m run -e A=1 -eB=2 -- busybox -e"),
            ("m run -ite A=1 busybox", "m run -ite A=1 -- busybox"),
            ("m run -ee busybox -e", "m run -ee -- busybox -e"),
            (
                "m run -p 80:80 --name web --memory=64m nginx -g x",
                "m run -p 80:80 --name web --memory=64m -- nginx -g x",
            ),
            ("m run --net host x", "m run --net host -- x"),
            ("m run -h web x -h", "m run --hostname web -- x -h"),
            ("m create -it -hweb x", "m create -it --hostname web -- x"),
            ("m run -h=web x", "m run --hostname web -- x"),
            ("m run -ith web x", "m run -it --hostname web -- x"),
            ("m run -ethe x", "m run -ethe -- x"),
            ("m run -h", "m run -h"),
            ("m exec -h x", "m exec -h x"),
            ("m container create --rm x sh -c y", "m create --rm -- x sh -c y"),
            ("m run --explain x", "m run --explain -- x"),
            ("m run --explain=json x", "m run --explain=json -- x"),
            ("m run -- x --rm", "m run -- x --rm"),
            ("m run --rm --help x", "m run --rm --help x"),
            ("m run x --help", "m run -- x --help"),
            ("m --help", "m --help"),
            ("m -V", "m -V"),
            ("m -v", "m --version"),
            ("m run --rm --bogus x", "m run --rm --bogus x"),
            ("m run --entrypoint", "m run --entrypoint"),
            ("m run --name -- x", "m run --name -- -- x"),
            ("m exec -u root web ps -ef", "m exec -u root -- web ps -ef"),
            ("m --root /x run --rm a -b", "m --root /x run --rm -- a -b"),
            ("m rm -f a b", "m rm -f a b"),
            ("m rm a -f", "m rm a -f"),
            ("m", "m"),
        ] {
            assert_eq!(translated(line), want, "{line}");
        }
    }

    #[test]
    fn gos_boolean_values_are_understood() {
        for (line, want) in [
            ("m run --rm=true x", "m run --rm -- x"),
            ("m run --rm=false x", "m run -- x"),
            ("m run -i=true -t=false x", "m run -i -- x"),
            ("m run -it=false x", "m run -i -- x"),
            ("m run -it=true x", "m run -it -- x"),
            ("m run --rm=maybe x", "m run --rm=maybe -- x"),
            ("m rm --force=true a", "m rm --force a"),
            ("m rm a --force=false", "m rm a"),
        ] {
            assert_eq!(translated(line), want, "{line}");
        }
    }

    #[test]
    fn long_forms_are_aliases() {
        for (line, want) in [
            ("m container ls -a", "m ps -a"),
            ("m image rm x", "m rmi x"),
            ("m image inspect -f x y", "m inspect --type=image -f x y"),
            ("m container run --rm x -y", "m run --rm -- x -y"),
            ("m container", "m container"),
            ("m container --help", "m container --help"),
            ("m container bogus", "m container bogus"),
            ("m container help ls", "m help ps"),
            ("m help image prune", "m help system prune"),
            ("m image remove x", "m rmi x"),
            ("m image ls busybox", "m images busybox"),
            ("m image ls -f reference=x busybox", "m images -f reference=x busybox"),
            ("m image ls busybox /etc", "m image ls busybox /etc"),
            ("m image ls /etc", "m image ls /etc"),
            ("m image tree busybox", "m image tree busybox"),
        ] {
            assert_eq!(translated(line), want, "{line}");
        }
    }
}
