//! `volume create`, `ls`, `inspect`, `rm`, `prune`: volumes as people handle them.

use super::{mounts, now};
use crate::error::{Error, Result};
use crate::id::Name;
use crate::state::volume::{self, Record, Removal, Volume};
use crate::state::{Roots, events};
use crate::sys::usage;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub use super::container::Force;

/// Makes a volume, with a made up name where none is given; gives its name. It may be there already.
pub fn create(roots: &Roots, name: Option<&str>, labels: &[(String, String)]) -> Result<Name> {
    roots.make()?;
    let given = name.map(parse).transpose()?;
    let anonymous = given.is_none();
    let name = given.map_or_else(mounts::made_up, Ok)?;
    let labels = labels.iter().cloned().collect();
    let record =
        Record { version: volume::VERSION, name: name.clone(), created: now(), labels, anonymous, filled: false };
    if volume::make(&roots.volumes(), &record)? {
        events::volume(roots, &name, "create");
    }
    Ok(name)
}

fn parse(name: &str) -> Result<Name> {
    Name::parse(name).map_err(|e| e.during("volume"))
}

/// What volumes must be like: all of it, but of several names or of several values of a label one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The name has this in it.
    Name(String),
    /// It has the label, with the value where one is given.
    Label(String, Option<String>),
    /// It has not.
    NoLabel(String, Option<String>),
    /// No container has it.
    Dangling(bool),
    /// Of `prune`: named ones, too.
    All(bool),
}

impl Filter {
    /// `name=…`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]`, `dangling=true|false`, `all=true|false`.
    pub fn parse(text: &str) -> Result<Filter> {
        let bad = |why: &str| Error::user(format!("invalid filter {text:?}: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| bad("it is KEY=VALUE").hint("--filter label=app"))?;
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad("it is true or false").hint(format!("--filter {key}=true"))),
        };
        let label = || match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        match key {
            "name" => Ok(Filter::Name(value.to_owned())),
            "label" => Ok(Filter::Label(label().0, label().1)),
            "label!" => Ok(Filter::NoLabel(label().0, label().1)),
            "dangling" => truth().map(Filter::Dangling),
            "all" => truth().map(Filter::All),
            _ => Err(bad("there is no such filter").hint("name=, label=, label!= and dangling= are there")),
        }
    }
}

/// Whether all filters say yes; a volume whose record cannot be read has no labels.
fn passes(volume: &Volume, used: &BTreeSet<Name>, filters: &[Filter]) -> bool {
    let has = |key: &String, wanted: &Option<String>| {
        let value = volume.record.as_ref().ok().and_then(|record| record.labels.get(key));
        value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
    };
    let names: Vec<&String> =
        filters.iter().filter_map(|f| if let Filter::Name(name) = f { Some(name) } else { None }).collect();
    let named = names.is_empty() || names.iter().any(|name| volume.name.as_str().contains(name.as_str()));
    named
        && filters.iter().all(|filter| match filter {
            Filter::Name(_) | Filter::All(_) => true,
            Filter::Label(key, value) => has(key, value),
            Filter::NoLabel(key, value) => !has(key, value),
            Filter::Dangling(dangling) => used.contains(&volume.name) != *dangling,
        })
}

/// The volumes that pass, by name.
pub fn list(roots: &Roots, filters: &[Filter]) -> Result<Vec<Name>> {
    let used = match filters.iter().any(|filter| matches!(filter, Filter::Dangling(_))) {
        true => volume::users(roots, None)?.into_keys().collect(),
        false => BTreeSet::new(),
    };
    let mut all = volume::all(&roots.volumes())?;
    all.retain(|volume| passes(volume, &used, filters));
    Ok(all.into_iter().map(|volume| volume.name).collect())
}

/// What docker's inspect shows of a volume.
pub fn inspect(roots: &Roots, name: &str) -> Result<Value> {
    let name = parse(name)?;
    let found = volume::load(&roots.volumes(), &name).ok_or_else(|| missing(&name))?;
    let record = found.record?;
    Ok(json!({
        "CreatedAt": record.created,
        "Driver": "local",
        "Labels": record.labels,
        "Mountpoint": volume::data(&roots.volumes(), &name),
        "Name": name,
        "Options": null,
        "Scope": "local",
    }))
}

fn missing(name: &Name) -> Error {
    Error::user(format!("no volume {name}")).hint("`minirun volume ls` lists them all")
}

/// Removes a volume that no container has. With force one that is not there is no error.
pub fn remove(roots: &Roots, name: &str, force: Force) -> Result<()> {
    let name = parse(name)?;
    match (volume::remove(roots, &name, None)?, force) {
        (Removal::Removed, _) | (Removal::Missing, Force::Yes) => Ok(()),
        (Removal::Missing, Force::No) => Err(missing(&name)),
        (Removal::InUse(container), _) => Err(Error::user(format!("volume {name} is in use by container {container}"))
            .hint(format!("remove the container first: minirun rm {container}"))),
    }
}

/// What `prune` removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pruned {
    pub volumes: Vec<Name>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Removes what no container has and passes: volumes that nobody gave a name, or all of them.
pub fn prune(roots: &Roots, all: bool, filters: &[Filter]) -> Result<Pruned> {
    let all = all || filters.contains(&Filter::All(true));
    let users: BTreeMap<Name, Vec<String>> = volume::users(roots, None)?;
    let used: BTreeSet<Name> = users.into_keys().collect();
    let mut pruned = Pruned::default();
    for volume in volume::all(&roots.volumes())? {
        let Ok(record) = &volume.record else { continue }; // nobody knows what it is: `volume rm` does it
        if used.contains(&volume.name) || !(all || record.anonymous) || !passes(&volume, &used, filters) {
            continue;
        }
        let size = usage::of_tree(volume::data(&roots.volumes(), &volume.name).as_path()).unwrap_or(0);
        if volume::remove(roots, &volume.name, None)? == Removal::Removed {
            pruned.reclaimed += size;
            pruned.volumes.push(volume.name);
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        let text = |text: &str| text.to_owned();
        for (word, want) in [
            ("name=da", Filter::Name(text("da"))),
            ("label=app", Filter::Label(text("app"), None)),
            ("label=app=web", Filter::Label(text("app"), Some(text("web")))),
            ("label!=app", Filter::NoLabel(text("app"), None)),
            ("dangling=true", Filter::Dangling(true)),
            ("all=0", Filter::All(false)),
        ] {
            assert_eq!(Filter::parse(word).unwrap(), want, "{word}");
        }
        for word in ["", "name", "driver=local", "dangling=maybe"] {
            let error = Filter::parse(word).unwrap_err();
            assert!(error.message.contains(&format!("{word:?}")) && error.hint.is_some(), "{error}");
        }
    }

    #[test]
    fn every_filter_must_say_yes() {
        let name = Name::parse("data").unwrap();
        let labels = [("app".to_owned(), "web".to_owned())].into();
        let (created, version) = (String::new(), volume::VERSION);
        let record = Record { version, name: name.clone(), created, labels, anonymous: false, filled: false };
        let volume = Volume { name: name.clone(), record: Ok(record) };
        let used = BTreeSet::from([name]);
        for (words, want) in [
            ("", true),
            ("name=at", true),
            ("name=x", false),
            ("name=x name=at", true),
            ("label=app", true),
            ("label=app=web", true),
            ("label=app=db", false),
            ("label!=app", false),
            ("name=at label=other", false),
            ("dangling=true", false),
            ("dangling=false", true),
        ] {
            let filters: Vec<Filter> = words.split_whitespace().map(|word| Filter::parse(word).unwrap()).collect();
            assert_eq!(passes(&volume, &used, &filters), want, "{words}");
        }
    }
}
