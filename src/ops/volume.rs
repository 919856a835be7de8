//! `volume create`, `ls`, `inspect`, `rm`, `prune`: volumes as people handle them.

use super::list::filter::{self, Filter};
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

/// What --filter of `ls` knows.
pub const FILTERS: [&str; 4] = ["name", "label", "label!", "dangling"];
/// And that of `prune`, where `all` is named ones, too.
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "all"];

/// Whether all filters say yes; a volume whose record cannot be read has no labels.
fn passes(volume: &Volume, used: &BTreeSet<Name>, filters: &[Filter]) -> bool {
    let none = BTreeMap::new();
    let labels = volume.record.as_ref().map_or(&none, |record| &record.labels);
    filter::passes(filters, |filter| match filter.key.as_str() {
        "name" => volume.name.as_str().contains(&filter.value),
        "label" => filter::has_label(labels, &filter.value),
        "label!" => !filter::has_label(labels, &filter.value),
        "dangling" => used.contains(&volume.name) != filter.is_true(),
        _ => true,
    })
}

/// The volumes that pass, by name.
pub fn list(roots: &Roots, filters: &[String]) -> Result<Vec<Name>> {
    let filters = filter::parse(filters, &FILTERS)?;
    let used = match filters.iter().any(|filter| filter.key == "dangling") {
        true => volume::users(roots, None)?.into_keys().collect(),
        false => BTreeSet::new(),
    };
    let mut all = volume::all(&roots.volumes())?;
    all.retain(|volume| passes(volume, &used, &filters));
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

/// Whether a filter of `prune` says that named volumes go, too.
pub fn asks_for_all(filters: &[String]) -> Result<bool> {
    let filters = filter::parse(filters, &PRUNE_FILTERS)?;
    Ok(filters.iter().any(|filter| filter.key == "all" && filter.is_true()))
}

/// Removes what no container has and passes: volumes that nobody gave a name, or all of them.
pub fn prune(roots: &Roots, all: bool, filters: &[String]) -> Result<Pruned> {
    let all = all || asks_for_all(filters)?;
    let filters = filter::parse(filters, &PRUNE_FILTERS)?;
    let users: BTreeMap<Name, Vec<String>> = volume::users(roots, None)?;
    let used: BTreeSet<Name> = users.into_keys().collect();
    let mut pruned = Pruned::default();
    for volume in volume::all(&roots.volumes())? {
        let Ok(record) = &volume.record else { continue }; // nobody knows what it is: `volume rm` does it
        if used.contains(&volume.name) || !(all || record.anonymous) || !passes(&volume, &used, &filters) {
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
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let filters = filter::parse(&words, &FILTERS).unwrap();
            assert_eq!(passes(&volume, &used, &filters), want, "{words:?}");
        }
    }
}
