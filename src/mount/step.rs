//! The deeds of mounting, as data: what is done, as a shell line, and why. Nothing here touches the system.
//! `$R` in a line is the container's root as the host names it, until the pivot.

use super::options::{Attribute, Propagation};
use crate::id::{ContainerPath, HostPath};
use crate::shell::{Shell, quote};
use crate::sys::process::Identity;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Cuts this mount namespace off from the host's.
    Propagation {
        to: Propagation,
    },
    /// The root: read-only layers (lowest first) below one directory for changes.
    Overlay {
        lower: Vec<HostPath>,
        upper: HostPath,
        work: HostPath,
        target: HostPath,
        volatile: bool,
    },
    /// The root: a directory as it is.
    BindRoot {
        source: HostPath,
        target: HostPath,
    },
    /// What one of these makes is made for init, and shown to it in the ids of its user namespace: there it has no right
    /// to the place. `owner` is its root's id on the host; without one, the owners are shown as they are.
    Lend {
        made: Box<Step>,
        owner: Option<u32>,
    },
    /// The same for a file that is the container's alone: it becomes its root's own.
    Give {
        file: HostPath,
        owner: u32,
    },
    /// The first of what was lent is the root. It lies above the host's until the pivot, for to its own place in our
    /// directories init has no right.
    AttachRoot,
    /// The next of what was lent.
    Attach {
        target: ContainerPath,
    },
    /// A mount point that the image lacks.
    MakeDirectory {
        path: ContainerPath,
    },
    /// A mount point for a file that the image lacks.
    MakeFile {
        path: ContainerPath,
    },
    /// A new file system.
    Mount {
        fstype: String,
        source: String,
        target: ContainerPath,
        attributes: Vec<Attribute>,
        data: Vec<String>,
    },
    /// A part of the host.
    Bind(Bind),
    /// What another container has mounted at a path: copied in its mount namespace, for only there it is a mount.
    BindOfOther {
        owner: Identity,
        source: ContainerPath,
        target: ContainerPath,
    },
    /// A device node.
    Device {
        path: ContainerPath,
        kind: DeviceKind,
        major: u64,
        minor: u64,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Symlink {
        path: ContainerPath,
        to: String,
    },
    /// Hides a file behind /dev/null.
    MaskFile {
        path: ContainerPath,
    },
    /// Hides a directory behind an empty one; `like` is one hidden earlier, whose file system is used again.
    MaskDirectory {
        path: ContainerPath,
        like: Option<ContainerPath>,
    },
    /// Makes what is at a path read-only, with all below it.
    ReadOnly {
        path: ContainerPath,
    },
    /// Makes a mount read-only that had to be written to first.
    Remount {
        path: ContainerPath,
        attributes: Vec<Attribute>,
    },
    /// Makes the root the root, and lets the host's go.
    Pivot,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: HostPath,
    /// The tree that the source lies in and does not lead out of, where others have written into that.
    #[serde(default)]
    pub inside: Option<HostPath>,
    pub target: ContainerPath,
    pub recursive: bool,
    pub attributes: Vec<Attribute>,
    pub recursive_attributes: bool,
    pub propagation: Option<Propagation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// The overlay's options: the highest layer stands first (Documentation/filesystems/overlayfs.rst).
pub fn lowerdir(lower: &[HostPath]) -> String {
    lower.iter().rev().map(|dir| overlay_escape(dir.as_str())).collect::<Vec<_>>().join(":")
}

/// `:` separates layers and `\` escapes it.
pub(super) fn overlay_escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

impl Step {
    pub fn shell(&self) -> Shell {
        Shell::line(match self {
            Step::BindOfOther { owner, source, target } => {
                return Shell::NoTool(format!(
                    "{source} of process {} appears at {} (setns(2), open_tree(2), move_mount(2))",
                    owner.pid,
                    inside(target)
                ));
            }
            Step::Lend { made, owner } => {
                let shown = owner.map_or_else(String::new, |owner| format!(", owners shown from {owner} on"));
                let call = if owner.is_some() { "mount_setattr(2), MOUNT_ATTR_IDMAP" } else { "open_tree(2)" };
                return Shell::NoTool(format!("init is handed `{}`{shown} ({call})", made.shell()));
            }
            Step::Give { file, owner } => {
                return Shell::NoTool(format!(
                    "init is handed {}, which belongs to {owner} from now on (chown(2), open_tree(2))",
                    quote(file.as_str())
                ));
            }
            Step::AttachRoot => return Shell::no_tool("the first of that appears above / (move_mount(2))"),
            Step::Attach { target } => {
                return Shell::NoTool(format!("the next of that appears at {} (move_mount(2))", inside(target)));
            }
            Step::Propagation { to } => format!("mount --make-r{} /", to.name()),
            Step::Overlay { lower, upper, work, target, volatile } => {
                let volatile = if *volatile { ",volatile" } else { "" };
                let options = format!("lowerdir={},upperdir={upper},workdir={work}{volatile}", lowerdir(lower));
                format!("mount -t overlay -o {} overlay {}", quote(&options), quote(target.as_str()))
            }
            Step::BindRoot { source, target } => {
                format!("mount --rbind {} {}", quote(source.as_str()), quote(target.as_str()))
            }
            Step::MakeDirectory { path } => format!("mkdir -p {}", inside(path)),
            Step::MakeFile { path } => format!("mkdir -p {} && touch {}", parent(path), inside(path)),
            Step::Mount { fstype, source, target, attributes, data } => {
                let words = attributes.iter().map(|a| a.name()).chain(data.iter().map(String::as_str));
                let options = words.collect::<Vec<_>>().join(",");
                let options = if options.is_empty() { String::new() } else { format!(" -o {}", quote(&options)) };
                format!("mount -t {}{options} {} {}", quote(fstype), quote(source), inside(target))
            }
            Step::Bind(bind) => bind.shell(),
            Step::Device { path, kind, major, minor, mode, uid, gid } => {
                let what = match kind {
                    DeviceKind::Char => format!("c {major} {minor}"),
                    DeviceKind::Block => format!("b {major} {minor}"),
                    DeviceKind::Fifo => "p".to_owned(),
                };
                let owner = if (*uid, *gid) == (0, 0) {
                    String::new()
                } else {
                    format!(" && chown {uid}:{gid} {}", inside(path))
                };
                format!("mknod -m {mode:03o} {} {what}{owner}", inside(path))
            }
            Step::Symlink { path, to } => format!("ln -s {} {}", quote(to), inside(path)),
            Step::MaskFile { path } => format!("mount --bind /dev/null {}", inside(path)),
            Step::MaskDirectory { path, like: None } => {
                format!("mount -t tmpfs -o {EMPTY_OPTIONS} tmpfs {}", inside(path))
            }
            Step::MaskDirectory { path, like: Some(first) } => {
                format!("mount --bind {} {}", inside(first), inside(path))
            }
            Step::ReadOnly { path } => {
                let at = inside(path);
                format!("mount --rbind {at} {at} && mount -o remount,bind,ro,{KEPT} {at}")
            }
            Step::Remount { path, attributes } => {
                let words = attributes.iter().map(|a| a.name()).collect::<Vec<_>>().join(",");
                format!("mount -o remount,bind,{words} {}", inside(path))
            }
            Step::Pivot => "cd \"$R\" && pivot_root . . && umount -l . && cd /".to_owned(),
        })
    }

    pub fn why(&self) -> &'static str {
        match self {
            Step::Propagation { .. } => "no mount made here reaches the host",
            Step::Overlay { .. } => "the image stays as it is, changes go to a directory of their own",
            Step::BindRoot { .. } => "pivot_root wants a mount",
            Step::Lend { .. } | Step::Give { .. } => {
                "root inside is nobody outside: what it is to see is opened for it"
            }
            Step::AttachRoot | Step::Attach { .. } => "the mount namespace is its own",
            Step::MakeDirectory { .. } | Step::MakeFile { .. } => "a mount needs a place, which the image lacks",
            Step::Mount { fstype, .. } => why_filesystem(fstype),
            Step::Bind(_) => "a part of the host, seen from inside",
            Step::BindOfOther { .. } => "the two containers share it",
            Step::Device { .. } => "the few devices that every program may use",
            Step::Symlink { .. } => "names that programs expect",
            Step::MaskFile { .. } | Step::MaskDirectory { .. } => "it would tell of the host, or harm it",
            Step::ReadOnly { .. } => "it belongs to the kernel that all share",
            Step::Remount { .. } => "everything below is in place now",
            Step::Pivot => "from here on no file of the host has a name",
        }
    }

    /// Everything here happens in the container's own mount namespace and goes with it.
    pub fn undo(&self) -> Option<Undo> {
        match self {
            Step::Propagation { .. }
            | Step::Overlay { .. }
            | Step::BindRoot { .. }
            | Step::Lend { .. }
            | Step::Give { .. }
            | Step::AttachRoot
            | Step::Attach { .. }
            | Step::MakeDirectory { .. }
            | Step::MakeFile { .. }
            | Step::Mount { .. }
            | Step::Bind(_)
            | Step::BindOfOther { .. }
            | Step::Device { .. }
            | Step::Symlink { .. }
            | Step::MaskFile { .. }
            | Step::MaskDirectory { .. }
            | Step::ReadOnly { .. }
            | Step::Remount { .. }
            | Step::Pivot => None,
        }
    }
}

/// Mounting leaves nothing on the host, so there is nothing to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {}

/// The empty directory that hides others: no room for a single file.
pub(super) const EMPTY_OPTIONS: &str = "ro,nr_blocks=1,nr_inodes=1";

/// What mounts of /proc and /sys carry already: a bind remount through mount(2) replaces all attributes at once.
const KEPT: &str = "nosuid,nodev,noexec";

fn why_filesystem(fstype: &str) -> &'static str {
    match fstype {
        "proc" => "processes of the new pid namespace, and no others",
        "sysfs" => "devices and the kernel's settings, read-only",
        "tmpfs" => "files in memory, gone with the container",
        "devpts" => "terminals of its own",
        "mqueue" => "message queues of the new ipc namespace",
        "cgroup" | "cgroup2" => "its own limits and usage, to look at",
        _ => "a file system of its own",
    }
}

impl Bind {
    fn shell(&self) -> String {
        let (from, at) = (quote(self.source.as_str()), inside(&self.target));
        let verb = if self.recursive { "--rbind" } else { "--bind" };
        let mut line = format!("mount {verb} {from} {at}");
        if !self.attributes.is_empty() {
            let words = self.attributes.iter().map(|a| a.name()).collect::<Vec<_>>().join(",");
            line += &format!(" && mount -o remount,bind,{words} {at}");
        }
        if let Some(propagation) = self.propagation {
            line += &format!(" && mount --make-r{} {at}", propagation.name());
        }
        line
    }
}

/// `"$R/dev/null"`: the root's own path may need the quotes.
fn inside(path: &ContainerPath) -> String {
    below_root(path.as_str())
}

fn parent(path: &ContainerPath) -> String {
    let above = path.as_str().rsplit_once('/').map_or("", |(above, _)| above);
    below_root(if above.is_empty() { "/" } else { above })
}

fn below_root(path: &str) -> String {
    match quote(path) {
        plain if plain == path => format!("\"$R{plain}\""),
        quoted => format!("\"$R\"{quoted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_as_the_command_that_does_the_same() {
        let at = |path: &str| ContainerPath::parse(path).unwrap();
        let host = |path: &str| HostPath::parse(path).unwrap();
        for (step, want) in [
            (
                Step::Overlay {
                    lower: vec![host("/l/a"), host("/l/b:c")],
                    upper: host("/u"),
                    work: host("/w"),
                    target: host("/r"),
                    volatile: true,
                },
                r"mount -t overlay -o 'lowerdir=/l/b\:c:/l/a,upperdir=/u,workdir=/w,volatile' overlay /r",
            ),
            (
                Step::Device {
                    path: at("/dev/null"),
                    kind: DeviceKind::Char,
                    major: 1,
                    minor: 3,
                    mode: 0o666,
                    uid: 0,
                    gid: 0,
                },
                r#"mknod -m 666 "$R/dev/null" c 1 3"#,
            ),
            (Step::MakeFile { path: at("/f") }, r#"mkdir -p "$R/" && touch "$R/f""#),
            (Step::MakeDirectory { path: at("/a b") }, r#"mkdir -p "$R"'/a b'"#),
            (
                Step::Bind(Bind {
                    inside: None,
                    source: host("/src"),
                    target: at("/dst"),
                    recursive: true,
                    attributes: vec![Attribute::Ro],
                    recursive_attributes: false,
                    propagation: None,
                }),
                r#"mount --rbind /src "$R/dst" && mount -o remount,bind,ro "$R/dst""#,
            ),
        ] {
            assert_eq!(step.shell().to_string(), want);
        }
    }
}
