//! Reads the host's cgroups into [`Hierarchies`]. Changes nothing.

use super::facts::{Hierarchies, Hierarchy, Level, Version, ancestors, clean, parse, words};
use crate::error::Result;
use crate::id::HostPath;
use crate::sys::fs;
use std::path::Path;

/// The hierarchies of this host, with what stands in the directories above `path` (`minirun/NAME`).
pub fn probe(path: &str) -> Result<Hierarchies> {
    let path = clean(path)?;
    let mountinfo = fs::read_text(Path::new("/proc/self/mountinfo"))?;
    let own = fs::read_text(Path::new("/proc/self/cgroup"))?;
    let mut found = parse(&mountinfo, &own)?;
    for hierarchy in &mut found.list {
        look_into(hierarchy, &path);
    }
    Ok(found)
}

fn look_into(hierarchy: &mut Hierarchy, path: &str) {
    let top = hierarchy.mount.clone();
    if hierarchy.version == Version::V2 {
        hierarchy.controllers = words(&text(&top, "cgroup.controllers"));
        // the kernel's root has no cgroup.type (cgroup-v2.rst)
        hierarchy.real_root = !there(&top, "cgroup.type");
    }
    if hierarchy.has("memory") && hierarchy.version == Version::V1 {
        hierarchy.swap_accounting = there(&top, "memory.memsw.limit_in_bytes");
    }
    hierarchy.bfq = match hierarchy.version {
        // the weights themselves are not in a root directory, BFQ's counters are
        Version::V1 => hierarchy.has("blkio") && there(&top, "blkio.bfq.io_serviced"),
        Version::V2 => hierarchy.has("io") && ancestors(path).iter().any(|p| there(&hierarchy.dir(p), "io.bfq.weight")),
    };
    for above in ancestors(path) {
        let dir = hierarchy.dir(above);
        if !above.is_empty() && !fs::exists(dir.as_path()) {
            break;
        }
        let level = level(hierarchy, above, &dir);
        hierarchy.levels.push(level);
    }
}

fn level(hierarchy: &Hierarchy, path: &str, dir: &HostPath) -> Level {
    let mut level = Level { path: path.to_owned(), ..Level::default() };
    match hierarchy.version {
        Version::V2 => {
            level.controllers = words(&text(dir, "cgroup.controllers"));
            level.enabled = words(&text(dir, "cgroup.subtree_control"));
            let root = hierarchy.real_root && path.is_empty();
            level.occupied = !root && !text(dir, "cgroup.procs").is_empty();
        }
        Version::V1 if hierarchy.has("cpuset") => {
            level.cpus = text(dir, "cpuset.cpus").trim().to_owned();
            level.mems = text(dir, "cpuset.mems").trim().to_owned();
        }
        Version::V1 => {}
    }
    level
}

/// A file that is missing or cannot be read says nothing.
fn text(dir: &HostPath, file: &str) -> String {
    fs::read_text(dir.child(file).as_path()).unwrap_or_default()
}

fn there(dir: &HostPath, file: &str) -> bool {
    fs::exists(dir.child(file).as_path())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_host_has_cgroups_and_we_are_in_them() {
        let found = super::probe("minirun/test").unwrap();
        assert!(!found.list.is_empty());
        for hierarchy in &found.list {
            assert_eq!(hierarchy.levels[0].path, "");
        }
    }
}
