//! `container` and `image`: docker's long spellings of our commands. A group is there for its help, its completion and
//! its manual page alone: `words` makes `ps` of `container ls` before clap sees it.

use clap::Command;

/// A group of commands.
#[derive(Debug)]
pub(super) struct Group {
    name: &'static str,
    about: &'static str,
    example: &'static str,
    verbs: &'static [Verb],
}

/// A verb by its names, the first of which is shown; what is typed for it without the group; what it does, where its
/// command does more than that.
type Verb = (&'static [&'static str], &'static str, Option<&'static str>);

const GROUPS: [Group; 2] = [
    Group {
        name: "container",
        about: "Run, list and remove containers: the long forms of the short commands",
        example: "Example: minirun container ls --all",
        verbs: &[
            (&["attach"], "attach", None),
            (&["commit"], "commit", None),
            (&["cp"], "cp", None),
            (&["create"], "create", None),
            (&["diff"], "diff", None),
            (&["exec"], "exec", None),
            (&["export"], "export", None),
            (&["inspect"], "inspect --type=container", Some("Show all that is known of containers, as JSON")),
            (&["kill"], "kill", None),
            (&["logs"], "logs", None),
            (&["ls", "list", "ps"], "ps", None),
            (&["pause"], "pause", None),
            (&["port"], "port", None),
            (&["prune"], "system prune --only=containers", Some("Remove all containers that do not run")),
            (&["rename"], "rename", None),
            (&["restart"], "restart", None),
            (&["rm", "remove"], "rm", None),
            (&["run"], "run", None),
            (&["start"], "start", None),
            (&["stats"], "stats", None),
            (&["stop"], "stop", None),
            (&["top"], "top", None),
            (&["unpause"], "unpause", None),
            (&["update"], "update", None),
            (&["wait"], "wait", None),
        ],
    },
    Group {
        name: "image",
        about: "Get, list and remove images: the long forms of the short commands",
        example: "Example: minirun image ls",
        verbs: &[
            (&["copy"], "copy", None),
            (&["history"], "history", None),
            (&["import"], "import", None),
            (&["inspect"], "inspect --type=image", Some("Show all that is known of images, as JSON")),
            (&["load"], "load", None),
            (&["ls", "list"], "images", None),
            (&["prune"], "system prune --only=images", Some("Remove the images without a name that nothing needs")),
            (&["pull"], "pull", None),
            (&["push"], "push", None),
            (&["rm", "remove"], "rmi", None),
            (&["save"], "save", None),
            (&["tag"], "tag", None),
            (&["unpack"], "unpack", None),
            (&["verify"], "verify", None),
        ],
    },
];

/// Verbs of a group that has commands of its own, and are not among them.
const BESIDE: [(&str, &str, &str); 2] = [("system", "events", "events"), ("system", "info", "info")];

/// What `GROUP VERB` is without the group, where the words behind it do not say otherwise: `system prune --only=images`.
pub(super) fn short_form(group: &str, verb: &str, rest: &[String]) -> Option<&'static str> {
    if group == "image" && matches!(verb, "ls" | "list") && names_a_path(rest) {
        return None;
    }
    if let Some((.., short)) = BESIDE.iter().find(|(of, name, _)| (*of, *name) == (group, verb)) {
        return Some(short);
    }
    let group = GROUPS.iter().find(|known| known.name == group)?;
    group.verbs.iter().find(|(names, ..)| names.contains(&verb)).map(|(_, short, _)| *short)
}

/// Whether a word names a group.
pub(super) fn is_group(word: &str) -> bool {
    GROUPS.iter().any(|group| group.name == word)
}

/// `image ls IMAGE PATH` and not docker's `image ls [NAME]`: there is a second word, or one that is a path.
fn names_a_path(rest: &[String]) -> bool {
    let mut words = 0;
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-f" | "--filter" | "--format" => drop(rest.next()),
            word if word.starts_with('-') => {}
            word if word.starts_with('/') => return true,
            _ => words += 1,
        }
    }
    words > 1
}

/// The commands and the groups of them. `image` has commands of its own, too.
pub(super) fn with_groups(commands: Command) -> Command {
    GROUPS.iter().fold(commands, |commands, group| {
        let verbs: Vec<Command> = group.verbs(&commands).collect();
        if commands.find_subcommand(group.name).is_some() {
            let is_own = |own: &Command, verb: &Command| own.find_subcommand(verb.get_name()).is_some();
            return commands.mut_subcommand(group.name, |own| {
                let others: Vec<Command> = verbs.into_iter().filter(|verb| !is_own(&own, verb)).collect();
                own.subcommands(others)
            });
        }
        let named = Command::new(group.name).about(group.about).after_help(group.example).subcommands(verbs);
        commands.subcommand(named.subcommand_required(true).arg_required_else_help(true))
    })
}

impl Group {
    /// Its verbs for clap, each with no more than what it does.
    fn verbs(&self, commands: &Command) -> impl Iterator<Item = Command> {
        self.verbs.iter().map(|(names, short, about)| {
            let command = short.split(' ').next().and_then(|name| commands.find_subcommand(name));
            let verb = Command::new(names[0]).visible_aliases(&names[1..]);
            match (about, command.and_then(Command::get_about)) {
                (Some(about), _) => verb.about(*about),
                (None, Some(about)) => verb.about(about.clone()),
                (None, None) => verb,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage;

    #[test]
    fn every_verb_is_a_command_and_says_what_it_does() {
        let command = crate::cli::command();
        for group in &GROUPS {
            let known = command.find_subcommand(group.name).unwrap();
            for (names, short, _) in group.verbs {
                let words: Vec<String> = ["m"].into_iter().chain(short.split(' ')).map(str::to_owned).collect();
                let depth = short.split(' ').filter(|word| !word.starts_with('-')).count();
                assert_eq!(usage::path(&words, &command).len(), 1 + depth, "{short}");
                let verb = known.find_subcommand(names[0]).unwrap();
                assert!(verb.get_about().is_some(), "{names:?}");
            }
        }
    }
}
