//! What the planner knows of the host's cgroups: the hierarchies, and the directories on the way to a container's.
//! Pure: the parsers take text, `probe` reads the files.

use crate::error::{Error, Result};
use crate::id::HostPath;
use serde::{Deserialize, Serialize};

/// Which interface the controllers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    V1,
    V2,
    /// Controllers on v1, and a v2 hierarchy beside them for systemd's or the kernel's own use.
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub version: Version,
    pub mount: HostPath,
    /// v1: those mounted together; v2: cgroup.controllers of the topmost directory that we see.
    pub controllers: Vec<String>,
    /// `name=systemd` and its like: a hierarchy without controllers.
    pub name: Option<String>,
    /// Our own cgroup as seen below `mount` (`/` is the mount itself); none where it lies outside.
    pub own: Option<String>,
    pub writable: bool,
    /// v2: the topmost directory is the kernel's own root, which may hold processes and give controllers to children.
    pub real_root: bool,
    /// The weights of block io are BFQ's files here.
    pub bfq: bool,
    /// v1: memory+swap can be limited.
    pub swap_accounting: bool,
    /// The directories that exist on the way down to the container's parent, topmost first.
    pub levels: Vec<Level>,
}

/// One directory that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Below the mount, without slashes at the ends; the topmost is empty.
    pub path: String,
    /// v2: cgroup.controllers.
    pub controllers: Vec<String>,
    /// v2: cgroup.subtree_control.
    pub enabled: Vec<String>,
    /// v2: it holds processes itself.
    pub occupied: bool,
    /// v1 cpuset: cpuset.cpus and cpuset.mems.
    pub cpus: String,
    pub mems: String,
}

/// All of them, in the order in which a container joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchies {
    pub mode: Mode,
    pub list: Vec<Hierarchy>,
}

impl Hierarchies {
    /// The v1 hierarchy of this controller.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.list.iter().find(|h| h.version == Version::V1 && h.controllers.iter().any(|c| c == controller))
    }
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.list.iter().find(|h| h.version == Version::V2)
    }
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
    pub fn level(&self, path: &str) -> Option<&Level> {
        self.levels.iter().find(|level| level.path == path)
    }
    /// The directory of this path.
    pub fn dir(&self, path: &str) -> HostPath {
        if path.is_empty() { self.mount.clone() } else { self.mount.child(path) }
    }
}

/// The hierarchies as /proc/self/mountinfo (proc_pid_mountinfo(5)) and /proc/self/cgroup (cgroups(7)) tell;
/// what stands in the directories themselves is still empty.
pub fn parse(mountinfo: &str, own: &str) -> Result<Hierarchies> {
    let memberships: Vec<Membership<'_>> = own.lines().filter_map(membership).collect();
    let mut list: Vec<Hierarchy> = Vec::new();
    for mount in mountinfo.lines().filter_map(mount) {
        let Some(found) = hierarchy(&mount, &memberships)? else { continue };
        // the same hierarchy may be mounted twice (bind mounts, a container's view); the first is the usual place
        let same =
            |h: &Hierarchy| h.version == found.version && h.name == found.name && h.controllers == found.controllers;
        if !list.iter().any(same) {
            list.push(found);
        }
    }
    let v1 = list.iter().any(|h| h.version == Version::V1);
    let v2 = list.iter().any(|h| h.version == Version::V2);
    let mode = match (v1, v2) {
        (true, true) => Mode::Hybrid,
        (true, false) => Mode::V1,
        (false, true) => Mode::V2,
        (false, false) => {
            return Err(Error::host("no cgroup hierarchy is mounted")
                .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup, or start with systemd"));
        }
    };
    // the freezer is made last and undone first: it stops everything before it is killed
    list.sort_by_key(|h| h.version == Version::V1 && h.has("freezer"));
    Ok(Hierarchies { mode, list })
}

struct Mount<'a> {
    root: String,
    point: String,
    options: &'a str,
    kind: &'a str,
    super_options: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let (kind, _source, super_options) = (right.next()?, right.next()?, right.next()?);
    Some(Mount {
        root: unescape(left.get(3)?),
        point: unescape(left.get(4)?),
        options: left.get(5)?,
        kind,
        super_options,
    })
}

/// mountinfo writes blank, tab, newline and backslash as three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

struct Membership<'a> {
    controllers: Vec<&'a str>,
    path: &'a str,
}

fn membership(line: &str) -> Option<Membership<'_>> {
    let mut fields = line.splitn(3, ':');
    let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Membership { controllers: controllers.split(',').filter(|c| !c.is_empty()).collect(), path })
}

fn hierarchy(mount: &Mount<'_>, memberships: &[Membership<'_>]) -> Result<Option<Hierarchy>> {
    let options: Vec<&str> = mount.super_options.split(',').collect();
    let (version, membership) = match mount.kind {
        "cgroup2" => (Version::V2, memberships.iter().find(|m| m.controllers.is_empty())),
        "cgroup" => {
            let is_ours = |m: &&Membership<'_>| m.controllers.first().is_some_and(|c| options.contains(c));
            (Version::V1, memberships.iter().find(is_ours))
        }
        _ => return Ok(None),
    };
    let Some(membership) = membership else { return Ok(None) };
    let (names, controllers): (Vec<&str>, Vec<&str>) =
        membership.controllers.iter().partition(|c| c.starts_with("name="));
    Ok(Some(Hierarchy {
        version,
        mount: HostPath::parse(&mount.point)?,
        controllers: controllers.into_iter().map(str::to_owned).collect(),
        name: names.first().map(|n| n["name=".len()..].to_owned()),
        own: below(&mount.root, membership.path),
        writable: !mount.options.split(',').chain(options).any(|o| o == "ro"),
        real_root: false,
        bfq: false,
        swap_accounting: true,
        levels: Vec::new(),
    }))
}

/// Our path as it is below the mount's root; a path with `..` is outside of our cgroup namespace.
fn below(root: &str, path: &str) -> Option<String> {
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    if root == "/" {
        return Some(path.to_owned());
    }
    match path.strip_prefix(root)? {
        "" => Some("/".to_owned()),
        rest => rest.starts_with('/').then(|| rest.to_owned()),
    }
}

/// The words of a file like cgroup.controllers.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A cgroup path as a bundle or we name it, below the topmost directory that we see: no `.`, `..` or empty parts.
pub fn clean(path: &str) -> Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() || parts.contains(&"..") || path.contains(['\0', '\n']) {
        return Err(
            Error::user(format!("invalid cgroup path {path:?}")).hint("a path such as minirun/NAME, without ..")
        );
    }
    Ok(parts.join("/"))
}

/// The paths above this one, topmost (empty) first.
pub fn ancestors(path: &str) -> Vec<&str> {
    std::iter::once("").chain(path.match_indices('/').map(|(at, _)| &path[..at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /mnt/memory\\040again rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd ro,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
    const OWN: &str = "9:name=systemd:/\n6:freezer:/\n4:memory:/process_api/41\n1:cpu,cpuacct:/\n0::/a\n";

    #[test]
    fn a_hybrid_host_has_its_named_and_unified_hierarchies_and_the_freezer_last() {
        let found = parse(HYBRID, OWN).unwrap();
        assert_eq!(found.mode, Mode::Hybrid);
        let mounts: Vec<&str> = found.list.iter().map(|h| h.mount.as_str().rsplit('/').next().unwrap()).collect();
        assert_eq!(mounts, ["cpu,cpuacct", "memory", "systemd", "unified", "freezer"]);
        assert_eq!(found.v1("cpuacct").unwrap().controllers, ["cpu", "cpuacct"]);
        assert_eq!(found.v1("memory").unwrap().own.as_deref(), Some("/process_api/41"));
        assert_eq!(found.list[2].name.as_deref(), Some("systemd"));
        assert!(!found.list[2].writable);
        assert_eq!(found.unified().unwrap().own.as_deref(), Some("/a"));
    }

    #[test]
    fn our_own_path_is_taken_below_the_root_of_the_mount() {
        for (root, path, want) in [
            ("/", "/", Some("/")),
            ("/docker/1", "/docker/1", Some("/")),
            ("/docker/1", "/docker/1/x", Some("/x")),
            ("/docker/1", "/docker/12", None),
            ("/", "/../../x", None),
        ] {
            assert_eq!(below(root, path).as_deref(), want, "{root} {path}");
        }
    }

    #[test]
    fn no_hierarchy_at_all_is_said() {
        assert!(parse("22 1 0:20 / /proc rw - proc proc rw\n", "0::/\n").is_err());
    }

    #[test]
    fn paths_stay_below() {
        assert_eq!(clean("/a//b/./c/").unwrap(), "a/b/c");
        for bad in ["", "/", "a/../b", "a\nb"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ancestors("a/b/c"), ["", "a", "a/b"]);
        assert_eq!(ancestors("a"), [""]);
    }
}
