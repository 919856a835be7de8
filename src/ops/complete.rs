//! The names that a shell offers: of containers, images and volumes. They are only looked at: nothing is made, repaired
//! or adopted, and what cannot be read, as by a user who may not, has no names.

use super::{cgroups, container, networks};
use crate::image::{Image, Reference, Store};
use crate::state::{Roots, Status, volume};

/// Which containers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    Running,
    /// Those that run and do not stand still, and those that do.
    Unpaused,
    Paused,
}

/// Names with a word on each: the image of a container. Ids come after the names, where they begin with what was typed.
pub fn containers(roots: &Roots, which: Which, typed: &str) -> Vec<(String, String)> {
    let mut all = container::all(roots).unwrap_or_default();
    all.retain(|one| match (which, one.status == Status::Running) {
        (Which::All, _) | (Which::Running, true) => true,
        (Which::Unpaused, true) => !cgroups::is_frozen(one),
        (Which::Paused, true) => cgroups::is_frozen(one),
        (_, false) => false,
    });
    let about = |one: &container::Container| {
        let image = one.config.as_ref().map_or("", |config| &config.image);
        format!("{image}, {}", container::describe(&one.status))
    };
    let names = all.iter().filter_map(|one| Some((one.config.as_ref()?.name.to_string(), about(one))));
    let ids = all.iter().filter(|one| !typed.is_empty() && one.id.as_str().starts_with(typed));
    let mut named: Vec<_> = names.collect();
    named.sort();
    named.extend(ids.map(|one| (one.id.short().to_owned(), about(one))));
    named
}

/// With their tags: `busybox:latest`; then ids, where they begin with what was typed.
pub fn images(roots: &Roots, typed: &str) -> Vec<String> {
    let all: Vec<Image> = Store::look(&roots.root).list().unwrap_or_default().into_iter().flatten().collect();
    let ids = all.iter().map(|image| image.id.short()).filter(|id| !typed.is_empty() && id.starts_with(typed));
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    let mut names: Vec<String> = all.iter().flat_map(|image| image.names.iter().map(Reference::familiar)).collect();
    names.sort();
    names.extend(ids);
    names
}

/// The volumes with a name that somebody has given; those without one where that was begun to be typed.
pub fn volumes(roots: &Roots, typed: &str) -> Vec<String> {
    let all = volume::all(&roots.volumes()).unwrap_or_default();
    let given = |one: &volume::Volume| one.record.as_ref().is_ok_and(|record| !record.anonymous);
    all.iter().filter(|one| !typed.is_empty() || given(one)).map(|one| one.name.to_string()).collect()
}

/// The built-in ones, too.
pub fn networks(roots: &Roots) -> Vec<String> {
    networks::list(roots, &[]).unwrap_or_default().into_iter().map(|row| row.name).collect()
}
