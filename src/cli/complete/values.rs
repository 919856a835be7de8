//! What may stand where a value is wanted. The value's name in the help says what kind it is: CONTAINER, IMAGE, FILE;
//! flags with a few words of their own stand in a table.

use super::position::Position;
use crate::ops::complete::{self, Which};
use crate::ops::list::{containers, images};
use crate::ops::{networks, prune};
use crate::spec::{security, signal, ulimit};
use crate::state::Roots;
use clap::Arg;

/// What a shell offers, and how it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub then: Then,
    /// Each with a few words on it, or with none.
    pub words: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next word begins behind a blank.
    Blank,
    /// The word is not complete: `status=`.
    More,
    /// Files of the host, where there are no words.
    Files,
    Directories,
}

/// Flags and the words they know, by id.
const WORDS: &[(&str, &[&str])] = &[
    ("restart", &["no", "on-failure", "always", "unless-stopped"]),
    ("pull", &["always", "missing", "never"]),
    ("log_driver", &["json-file", "none"]),
    ("driver", &["local"]),
    ("platform", &["linux/amd64", "linux/arm64"]),
    ("format", &["json"]),
    ("explain", &["text", "json"]),
    ("trace", &["step"]),
    ("sig_proxy", &["true", "false"]),
];

/// The same, with a value behind each.
const KEYS: &[(&str, &[&str])] = &[
    ("log_opt", &["max-size=", "max-file="]),
    ("mount", &["type=bind,", "type=volume,", "type=tmpfs,"]),
    ("security_opt", &["no-new-privileges", "seccomp=", "apparmor=", "label=", "systempaths=unconfined"]),
];

/// Modes of namespaces, besides `container:NAME`.
const MODES: &[(&str, &[&str])] =
    &[("pid", &["private", "host"]), ("ipc", &["private", "host"]), ("uts", &["private", "host"])];

/// Commands that a container which does not run has nothing for.
const OF_RUNNING: [&str; 8] = ["attach", "exec", "kill", "port", "stats", "stop", "top", "wait"];

fn find(table: &[(&str, &'static [&'static str])], id: &str) -> Option<&'static [&'static str]> {
    table.iter().find(|(known, _)| *known == id).map(|(_, words)| *words)
}

/// The values of a flag or an argument; `typed` is what there is of it.
pub(super) fn values(arg: &Arg, at: &Position<'_>, typed: &str, roots: &Roots) -> Offer {
    let id = arg.get_id().as_str();
    let bare = |then, words: &[&str]| Offer {
        then,
        words: words.iter().map(|word| ((*word).to_owned(), String::new())).collect(),
    };
    let possible = arg.get_possible_values();
    if !possible.is_empty() && arg.get_action().takes_values() {
        let names: Vec<&str> = possible.iter().map(clap::builder::PossibleValue::get_name).collect();
        return bare(Then::Blank, &names);
    }
    if let Some(words) = find(WORDS, id) {
        return bare(Then::Blank, words);
    }
    if let Some(words) = find(KEYS, id) {
        return bare(Then::More, words);
    }
    let networks = if id == "network" { complete::networks(roots) } else { Vec::new() };
    let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
    if let Some(words) = find(MODES, id).or(if id == "network" { Some(&networks) } else { None }) {
        let others = complete::containers(roots, Which::Running, "").into_iter();
        let others = others.filter(|_| id != "uts").map(|(name, about)| (format!("container:{name}"), about));
        let mut offer = bare(Then::Blank, words);
        offer.words.extend(others);
        return offer;
    }
    let with = |then, sign: &str, words: Vec<String>| Offer {
        then,
        words: words.iter().map(|word| (format!("{word}{sign}"), String::new())).collect(),
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match id {
        "filter" if at.path == ["ps"] => return with(Then::More, "=", owned(&containers::FILTERS)),
        "filter" if at.path == ["images"] => return with(Then::More, "=", owned(&images::FILTERS)),
        "filter" if at.path == ["volume", "ls"] => return with(Then::More, "=", owned(&["name", "label", "dangling"])),
        "filter" if at.path == ["network", "ls"] => return with(Then::More, "=", owned(&networks::FILTERS)),
        "filter" if at.path == ["system", "prune"] || at.path == ["network", "prune"] => {
            return with(Then::More, "=", owned(&prune::FILTERS));
        }
        "ulimit" => return with(Then::More, "=", owned(&ulimit::names())),
        "cap_add" | "cap_drop" => return with(Then::Blank, "", security::capability_names()),
        "workdir" | "tmpfs" => return bare(Then::Blank, &[]), // inside the container
        _ => {}
    }
    let default = id.to_ascii_uppercase();
    let name = arg.get_value_names().and_then(|names| names.first()).map_or(default.as_str(), |name| name.as_str());
    match (name, &at.path[..]) {
        ("SIGNAL", _) => bare(Then::Blank, &signal::names()),
        ("CONTAINER" | "CONTAINER[:ro]", path) => {
            Offer { then: Then::Blank, words: complete::containers(roots, which(path), typed) }
        }
        ("NAME", ["inspect"]) => of_any(at, typed, roots),
        ("A" | "B", ["diff"]) | ("IMAGE", ["compare" | "image", ..]) => {
            let mut words = complete::containers(roots, Which::All, typed);
            words.extend(complete::images(roots, typed).into_iter().map(|name| (name, "image".to_owned())));
            or_files(Offer { then: Then::Blank, words }, typed)
        }
        ("NETWORK", _) => with(Then::Blank, "", complete::networks(roots)),
        ("NAME", ["volume", "rm" | "inspect"]) => with(Then::Blank, "", complete::volumes(roots, typed)),
        ("IMAGE" | "NAME[:TAG]", _) => with(Then::Blank, "", complete::images(roots, typed)),
        ("PLACE", _) => or_files(with(Then::Blank, "", complete::images(roots, typed)), typed),
        ("FROM:TO[:ro]", _) => or_files(with(Then::More, ":", complete::volumes(roots, typed)), typed),
        ("CONTAINER:SRC" | "DEST", _) => {
            let names = complete::containers(roots, Which::All, "").into_iter().map(|(name, _)| name);
            or_files(with(Then::More, ":", names.collect()), typed)
        }
        (name, _) if name.starts_with("FILE") => bare(Then::Files, &[]),
        ("FROM[:TO[:rwm]]", _) => bare(Then::Files, &[]),
        ("DIR", _) => bare(Then::Directories, &[]),
        _ => bare(Then::Blank, &[]),
    }
}

fn which(path: &[&str]) -> Which {
    match path {
        ["pause"] => Which::Unpaused,
        ["unpause"] => Which::Paused,
        [name] if OF_RUNNING.contains(name) => Which::Running,
        _ => Which::All,
    }
}

/// `inspect` takes them all, unless --type says which.
fn of_any(at: &Position<'_>, typed: &str, roots: &Roots) -> Offer {
    let only = at.given.iter().rev().find(|(id, _)| *id == "type").map(|(_, value)| value.as_str());
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    let all =
        |names: Vec<String>, about: &str| names.into_iter().map(|name| (name, about.to_owned())).collect::<Vec<_>>();
    let mut words = Vec::new();
    if wanted("container") {
        words.extend(complete::containers(roots, Which::All, typed));
    }
    if wanted("image") {
        words.extend(all(complete::images(roots, typed), "image"));
    }
    if wanted("volume") {
        words.extend(all(complete::volumes(roots, typed), "volume"));
    }
    if only == Some("network") {
        words.extend(all(complete::networks(roots), "network")); // three of which are everywhere
    }
    Offer { then: Then::Blank, words }
}

/// Files where none of the words begins with what was typed.
fn or_files(offer: Offer, typed: &str) -> Offer {
    match offer.words.iter().any(|(word, _)| word.starts_with(typed)) {
        true => offer,
        false => Offer { then: Then::Files, words: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::restart;

    #[test]
    fn the_words_are_understood_by_whom_they_are_for() {
        assert!(find(WORDS, "restart").unwrap().iter().all(|word| restart::parse(word).is_ok()));
        assert!(signal::names().iter().all(|name| signal::parse(name).is_ok()));
        let names = security::capability_names();
        assert!(names.contains(&"NET_ADMIN".to_owned()) && names.contains(&"ALL".to_owned()), "{names:?}");
    }

    #[test]
    fn every_table_names_flags_that_are_there() {
        let command = crate::cli::command();
        let mut commands = vec![&command];
        let mut ids = Vec::new();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            ids.extend(command.get_arguments().map(|arg| arg.get_id().to_string()));
        }
        for (id, _) in WORDS.iter().chain(KEYS).chain(MODES) {
            assert!(ids.iter().any(|known| known == id), "{id}");
        }
        assert!(OF_RUNNING.iter().all(|name| command.find_subcommand(name).is_some()));
    }
}
