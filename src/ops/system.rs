//! `repair`, `system reset`: minirun as a whole.

use super::container::{self, Anonymous, Force};
use super::lab::{self, Left};
use super::{list, remains};
use crate::cgroup::facts::{Hierarchies, Version};
use crate::error::{During as _, Error, Result};
use crate::facts;
use crate::id::HostPath;
use crate::plan::step::Undo;
use crate::state::{Roots, Status, container as records, names, user_ids, volume};
use crate::sys::fs;
use crate::{cgroup, engine};

/// Removes what killed commands and monitors left, a line for each thing. What lives is not touched; doing it twice
/// changes nothing.
pub fn repair(roots: &Roots) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let swept = records::sweep(roots)?;
    lines.extend((swept > 0).then(|| format!("{swept} records that were being written or removed")));
    for one in container::all(roots)? {
        // with its monitor the last command in front of it went, too
        if one.is_orphan() && one.config.as_ref().is_some_and(|config| config.attended) {
            container::remove_by_id(roots, &one.id, Force::Yes, Anonymous::Remove).during(|| "repair")?;
            lines.push(format!("container {}", one.id.short()));
            continue;
        }
        match remains::repair_one(roots, &one) {
            Ok(false) => {}
            Ok(true) => lines.push(format!("container {}", one.id.short())),
            Err(error) => return Err(error.during("repair")),
        }
    }
    for (name, id) in names::all(roots)? {
        // a name that leads to nobody, or one of two that a `rename` has left
        let _turn = records::turn(roots, &id)?;
        let there = records::load::<Undo>(roots, &id);
        let left = match &there.config {
            None => there.status == Status::Dead,
            Some(config) => config.name != name,
        };
        if left {
            names::release(roots, &name, &id)?;
            lines.push(format!("name {name}"));
        }
    }
    let volumes = volume::sweep(&roots.volumes())?;
    lines.extend((volumes > 0).then(|| format!("{volumes} volumes that were being made, filled or removed")));
    let ids = user_ids::sweep(roots)?;
    lines.extend((ids > 0).then(|| format!("the ids of {ids} user namespaces that were not made")));
    lines.extend(super::network::repair(roots)?);
    lines.extend((lab::take_back(roots)? == Left::Dead).then(|| LAB.to_owned()));
    Ok(lines)
}

const LAB: &str = "a lab that was killed";

/// Everything that minirun ever made here and that is still there, a line each.
pub fn everything(roots: &Roots) -> Result<Vec<String>> {
    let mut lines: Vec<String> =
        list::containers::all(roots)?.iter().map(|row| format!("container {} {}", row.id.short(), row.name)).collect();
    lines.extend(list::images::all(roots)?.iter().map(|row| format!("image {}:{}", row.repository, row.tag)));
    lines.extend(volume::all(&roots.volumes())?.iter().map(|volume| format!("volume {}", volume.name)));
    lines.extend(super::network::everything(roots)?);
    lines.extend(cgroups(roots)?.iter().map(|(dir, _)| format!("cgroup {dir}")));
    lines.extend((lab::left(roots)? == Left::Dead).then(|| LAB.to_owned()));
    let dirs = [&roots.root, &roots.state].into_iter().filter(|dir| fs::exists(dir.as_path()));
    lines.extend(dirs.map(HostPath::to_string));
    Ok(lines)
}

/// Removes all of it; what was removed, and what could not be.
pub fn reset(roots: &Roots) -> Result<(Vec<String>, Vec<Error>)> {
    let lines = everything(roots)?;
    let mut errors = Vec::new();
    match lab::take_back(roots) {
        Ok(Left::Played) => errors.push(Error::user("a lab is being played").hint("wait for its end")),
        taken => errors.extend(taken.err()),
    }
    let all = container::all(roots)?;
    all.iter().for_each(|one| _ = container::kill(roots, one.id.as_str()));
    for one in all {
        errors.extend(container::remove_by_id(roots, &one.id, Force::Yes, Anonymous::Remove).err());
    }
    errors.extend(super::network::remove_all(roots));
    for (dir, version) in cgroups(roots)? {
        errors.extend(engine::undo(&[Undo::Cgroup(cgroup::step::Undo::Remove { dir, version })]).errors);
    }
    if errors.is_empty() {
        for dir in [&roots.root, &roots.state] {
            errors.extend(fs::remove_tree(dir.as_path()).err().map(Error::from));
        }
    }
    Ok((lines, errors))
}

/// The directories below which all our cgroups are, one for each hierarchy.
fn cgroups(roots: &Roots) -> Result<Vec<(HostPath, Version)>> {
    let parent = facts::cgroup_parent(roots);
    let Hierarchies { list, .. } = cgroup::probe::probe(&parent)?;
    let dirs = list.iter().map(|h| (h.dir(&parent), h.version));
    Ok(dirs.filter(|(dir, _)| fs::exists(dir.as_path())).collect())
}
