//! `prune`: what nobody uses any more is removed.

use super::container::{self, Anonymous, Force};
use super::df::{distinct, size_of};
use super::image::{self, Removed};
use super::list::filter::{self, Filter};
use super::list::images;
use super::logs;
use crate::error::Result;
use crate::id::ContainerId;
use crate::image::Store;
use crate::spec::request::RunRequest;
use crate::state::Roots;
use std::collections::BTreeMap;

/// What was removed, and how many bytes that gave back.
#[derive(Debug)]
pub struct Pruned<T> {
    pub removed: Vec<T>,
    pub reclaimed: u64,
}

/// What --filter knows: of an age, and with or without a label.
pub const FILTERS: [&str; 3] = ["until", "label", "label!"];

/// Which of all that nobody needs is to go.
pub(super) struct Wanted {
    filters: Vec<Filter>,
    /// What was made after one of them stays.
    until: Vec<jiff::Timestamp>,
}

impl Wanted {
    pub(super) fn parse(words: &[String]) -> Result<Wanted> {
        let (times, filters): (Vec<Filter>, _) =
            filter::parse(words, &FILTERS)?.into_iter().partition(|filter| filter.key == "until");
        let now = logs::now();
        let until = times.iter().map(|filter| logs::moment(&filter.value, now)).collect::<Result<_>>()?;
        Ok(Wanted { filters, until })
    }

    /// What cannot be read passes no filter.
    pub(super) fn passes(&self, created: Option<&str>, labels: Option<&BTreeMap<String, String>>) -> bool {
        let created: Option<jiff::Timestamp> = created.and_then(|at| at.parse().ok());
        let old = self.until.iter().all(|until| created.is_some_and(|created| created < *until));
        let has = |filter: &Filter| {
            labels.is_some_and(|labels| filter::has_label(labels, &filter.value) == (filter.key == "label"))
        };
        old && filter::passes(&self.filters, has)
    }
}

/// Removes all containers that do not run and pass. One that somebody starts meanwhile stays.
pub fn containers(roots: &Roots, filters: &[String]) -> Result<Pruned<ContainerId>> {
    let wanted = Wanted::parse(filters)?;
    let mut pruned = Pruned { removed: Vec::new(), reclaimed: 0 };
    for one in container::all(roots)? {
        let made = one.config.as_ref().map(|config| config.created.as_str());
        if !one.has_ended() || !wanted.passes(made, labels(&one).as_ref()) {
            continue;
        }
        let size = size_of(roots, &one.id);
        if container::remove(roots, one.id.as_str(), Force::No, Anonymous::Keep).is_ok() {
            pruned.removed.push(one.id);
            pruned.reclaimed += size;
        }
    }
    Ok(pruned)
}

/// What a container is labelled with, where that can be read.
fn labels(one: &container::Container) -> Option<BTreeMap<String, String>> {
    let request = one.config.as_ref()?.request.parse::<RunRequest>().ok()?;
    Some(request.labels.into_iter().collect())
}

/// Whether something is to go only where it is old.
pub fn asks_for_age(filters: &[String]) -> Result<bool> {
    Ok(filter::parse(filters, &FILTERS)?.iter().any(|filter| filter.key == "until"))
}

/// Removes the images that pass, without a name that no container was made from, or with `all` those with one, too.
pub fn images(roots: &Roots, all: bool, filters: &[String]) -> Result<Pruned<Removed>> {
    let wanted = Wanted::parse(filters)?;
    let used = image::users::all(roots)?.kept;
    let mut pruned = Pruned { removed: Vec::new(), reclaimed: 0 };
    let store = Store::look(&roots.root);
    let before = store.usage(&used)?.bytes();
    if before == 0 {
        return Ok(pruned);
    }
    for row in distinct(images::all(roots)?) {
        let unused = !used.contains(&row.digest) && (all || row.repository == "<none>");
        if !unused || !wanted.passes(row.created.as_deref(), Some(&row.labels)) {
            continue;
        }
        pruned.removed.extend(image::remove(roots, &row.digest.to_string(), Force::No)?);
    }
    for digest in if all && filters.is_empty() { store.broken()? } else { Vec::new() } {
        if !used.contains(&digest) {
            pruned.removed.extend(image::remove(roots, &digest.to_string(), Force::No)?);
        }
    }
    // what belongs to no image: pulls that failed have kept it for the next one, or somebody was killed
    if filters.is_empty() {
        store.sweep(&|| image::users::all(roots).map(|users| users.kept))?;
    }
    pruned.reclaimed = before.saturating_sub(store.usage(&used)?.bytes());
    Ok(pruned)
}
