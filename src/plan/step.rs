//! One step of a container's birth: a domain's, or one of the process itself. Data with three faces:
//! do it (`engine`), say it (`shell`, `why`), undo it (`undo`).

use super::{root, volume};
use crate::id::{ContainerId, HostPath};
use crate::shell::{Shell, quote, words};
use crate::sys::process::Identity;
use crate::sys::tty::Size;
use crate::{cgroup, mount, net, security};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Mount(mount::step::Step),
    Cgroup(cgroup::step::Step),
    Security(security::step::Step),
    Net(net::step::Step),
    Volume(volume::Step),
    CopyRoot(root::Copy),
    /// A directory of our own on the host, which goes with the container.
    MakeDirectory {
        path: HostPath,
        mode: u32,
    },
    /// A file of our own in such a directory.
    WriteFile {
        path: HostPath,
        content: String,
    },
    /// Init's birth: one clone3 with all namespaces, where cgroup v2 is mounted into its cgroup; `pid` is another
    /// container's pid namespace to be born in.
    Clone {
        namespaces: Vec<Namespace>,
        pid: Option<Joined>,
        cgroup: Option<HostPath>,
    },
    /// Takes setgroups(2) from init's user namespace: without it nobody may write a group map unprivileged.
    DenySetgroups,
    /// Which ids of the host those of init's user namespace are.
    IdMap {
        file: IdMapFile,
        ranges: Vec<IdRange>,
        writer: IdMapWriter,
    },
    /// Init, which is nobody in its user namespace so far, becomes its root.
    BecomeRoot,
    /// Enters one namespace of another process.
    JoinNamespace {
        namespace: Namespace,
        of: Joined,
    },
    /// Enters all namespaces of a container's init: `exec`.
    Enter {
        init: Identity,
        namespaces: Vec<Namespace>,
    },
    /// A session of its own, so that no terminal of the host's controls it.
    NewSession,
    /// A pseudo-terminal of the container's own devpts, whose other end is handed out.
    Console {
        size: Size,
    },
    Hostname {
        name: String,
    },
    Domainname {
        name: String,
    },
    Sysctl {
        key: String,
        value: String,
    },
    WorkingDirectory {
        path: String,
    },
    Wait(Wait),
    /// Ends init's wait of this name.
    Release(Wait),
    Exec {
        args: Vec<String>,
        env: Vec<String>,
    },
}

/// A namespace that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// `/proc/PID/ns/net`, or a file that is bound to one.
    pub path: HostPath,
    /// Whose pid that is, where it was found by one: by now it may be another process's.
    pub owner: Option<Identity>,
}

/// What init waits for, and whoever waits sees end-of-file if the monitor dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// Init is somebody: until then all its ids are the overflow id, and files belong to nobody.
    IdMaps,
    /// The network is up and the start was asked for.
    Start,
}

/// A file of init's directory in /proc (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapFile {
    UidMap,
    GidMap,
}

/// `count` ids, from `inside` on in the namespace and from `outside` on on the host: a line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Who writes it: the kernel takes a map of one's own id alone from anybody, and any other only with CAP_SETUID and
/// CAP_SETGID, which newuidmap(1) and newgidmap(1) have and which hold to subuid(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdMapWriter {
    Monitor,
    Newidmap,
}

impl IdMapFile {
    pub fn name(self) -> &'static str {
        match self {
            IdMapFile::UidMap => "uid_map",
            IdMapFile::GidMap => "gid_map",
        }
    }

    /// The program that may write it for a user.
    pub fn program(self) -> &'static str {
        match self {
            IdMapFile::UidMap => "newuidmap",
            IdMapFile::GidMap => "newgidmap",
        }
    }
}

impl IdRange {
    /// As the file and newuidmap(1) have it.
    pub fn text(&self) -> String {
        format!("{} {} {}", self.inside, self.outside, self.count)
    }
}

/// Kinds of namespaces, in the words of namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
}

impl Namespace {
    pub fn flag(self) -> libc::c_int {
        match self {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Net => libc::CLONE_NEWNET,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        }
    }

    /// As unshare(1) and nsenter(1) call it.
    pub fn name(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mount",
            Namespace::Pid => "pid",
            Namespace::Net => "net",
            Namespace::Ipc => "ipc",
            Namespace::Uts => "uts",
            Namespace::Cgroup => "cgroup",
        }
    }

    pub fn flags(all: &[Namespace]) -> libc::c_int {
        all.iter().fold(0, |flags, one| flags | one.flag())
    }
}

impl Step {
    /// Whether the host's files have no name any more once it is done.
    pub fn is_pivot(&self) -> bool {
        matches!(self, Step::Mount(mount::step::Step::Pivot))
    }

    pub fn shell(&self) -> Shell {
        match self {
            Step::Mount(step) => step.shell(),
            Step::Cgroup(step) => step.shell(),
            Step::Security(step) => step.shell(),
            Step::Net(step) => step.shell(),
            Step::Volume(step) => step.shell(),
            Step::CopyRoot(copy) => copy.shell(),
            Step::MakeDirectory { path, mode } => Shell::line(format!("mkdir -p -m {mode:o} {}", quote(path.as_str()))),
            Step::WriteFile { path, content } => {
                Shell::line(format!("printf %s {} > {}", ansi_quote(content), quote(path.as_str())))
            }
            Step::Clone { namespaces, pid, .. } => {
                let kinds = namespaces.iter().map(|n| format!(" --{}", n.name())).collect::<String>();
                let join =
                    pid.as_ref().map_or(String::new(), |of| format!("nsenter --pid={} ", quote(of.path.as_str())));
                Shell::line(format!("{join}unshare{kinds} --fork --propagation unchanged bash -eus"))
            }
            Step::DenySetgroups => Shell::line("echo deny > /proc/$INIT_PID/setgroups"),
            Step::IdMap { file, ranges, writer } => Shell::line(id_map(*file, ranges, *writer)),
            Step::BecomeRoot => {
                Shell::no_tool("init becomes root of its user namespace (setgroups(2), setresgid(2), setresuid(2))")
            }
            // the rest of the script is read by the bash inside
            Step::JoinNamespace { namespace, of } => {
                Shell::line(format!("exec nsenter --{}={} bash -eus", namespace.name(), quote(of.path.as_str())))
            }
            Step::Enter { init, namespaces } => {
                let kinds = namespaces.iter().map(|n| format!(" --{}", n.name())).collect::<String>();
                Shell::line(format!("nsenter -t {}{kinds}", init.pid))
            }
            Step::NewSession => Shell::no_tool("setsid(2), which setsid(1) does only with a program"),
            Step::Console { size } => Shell::no_tool(format!(
                "open /dev/pts/ptmx, hand it out, make its other side the controlling terminal ({} x {})",
                size.rows, size.columns
            )),
            Step::Hostname { name } => Shell::line(format!("hostname {}", quote(name))),
            Step::Domainname { name } => Shell::line(format!("domainname {}", quote(name))),
            Step::Sysctl { key, value } => {
                Shell::line(format!("echo {} > /proc/sys/{}", quote(value), key.replace('.', "/")))
            }
            Step::WorkingDirectory { path } => Shell::line(format!("cd {}", quote(path))),
            Step::Wait(Wait::IdMaps | Wait::Start) => Shell::line("read -r _ <&4"),
            Step::Release(Wait::IdMaps | Wait::Start) => Shell::line("echo go >&4"),
            Step::Exec { args, env } => {
                let env = words(env.iter().map(String::as_str));
                Shell::line(format!("exec env -i {env} {}", words(args.iter().map(String::as_str))))
            }
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Step::Mount(step) => step.why(),
            Step::Cgroup(step) => step.why(),
            Step::Security(step) => step.why(),
            Step::Net(step) => step.why(),
            Step::Volume(step) => step.why(),
            Step::CopyRoot(_) => "its image, to write into: nothing can be laid over it where the store lies",
            Step::MakeDirectory { .. } => "a place of its own, which goes with it",
            Step::WriteFile { .. } => "a file that is bound into the container",
            Step::Clone { .. } => "the container is this process: all that is new about it is what it sees",
            Step::DenySetgroups => "who may drop a group could open what is closed to it (CVE-2014-8989)",
            Step::IdMap { file: IdMapFile::UidMap, .. } => "root inside is an ordinary user of the host",
            Step::IdMap { file: IdMapFile::GidMap, .. } => "the same for groups",
            Step::BecomeRoot => "the host's root is not among the ids that are mapped",
            Step::JoinNamespace { .. } | Step::Enter { .. } => "it sees what the other one sees",
            Step::NewSession => "no terminal of the host's controls it",
            Step::Console { .. } => "a terminal of its own",
            Step::Hostname { .. } | Step::Domainname { .. } => "only in the new uts namespace",
            Step::Sysctl { .. } => "the new namespaces have their own value",
            Step::WorkingDirectory { .. } => "where the program starts",
            Step::Wait(Wait::IdMaps) => "until it is somebody",
            Step::Wait(Wait::Start) => "until the network is up",
            Step::Release(Wait::IdMaps) => "it is somebody now",
            Step::Release(Wait::Start) => "both sides are done",
            Step::Exec { .. } => "from now on it is the container's program",
        }
    }

    pub fn undo(&self) -> Option<Undo> {
        match self {
            Step::Mount(step) => step.undo().map(Undo::Mount),
            Step::Cgroup(step) => step.undo().map(Undo::Cgroup),
            Step::Security(step) => step.undo().map(Undo::Security),
            Step::Net(step) => step.undo().map(Undo::Net),
            // it outlives the container, or goes with its record (see `state::volume`)
            Step::Volume(_)
            // they lie in the container's own directories, which go with its records
            | Step::CopyRoot(_)
            | Step::MakeDirectory { .. }
            | Step::WriteFile { .. }
            | Step::Clone { .. }
            | Step::DenySetgroups
            | Step::IdMap { .. }
            | Step::BecomeRoot
            | Step::JoinNamespace { .. }
            | Step::Enter { .. }
            | Step::NewSession
            | Step::Console { .. }
            | Step::Hostname { .. }
            | Step::Domainname { .. }
            | Step::Sysctl { .. }
            | Step::WorkingDirectory { .. }
            | Step::Wait(_)
            | Step::Release(_)
            | Step::Exec { .. } => None,
        }
    }
}

/// How to take back what a step left on the host. Doing it twice, or when it is gone already, is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    Mount(mount::step::Undo),
    Cgroup(cgroup::step::Undo),
    Security(security::step::Undo),
    Net(net::step::Undo),
    /// What the networks lent to a container.
    ReturnLeases {
        state: HostPath,
        container: ContainerId,
    },
    /// The ids of its user namespace; `link` says whose they are.
    ReturnIds {
        link: HostPath,
        container: ContainerId,
    },
}

impl Undo {
    /// The kernel does it by itself soon after init's end; asking for it only makes sure, and takes long.
    pub fn follows_init(&self) -> bool {
        match self {
            Undo::Net(undo) => undo.follows_init(),
            Undo::Mount(undo) => match *undo {},
            Undo::Security(undo) => match *undo {},
            Undo::Cgroup(_) | Undo::ReturnLeases { .. } | Undo::ReturnIds { .. } => false,
        }
    }
}

fn id_map(file: IdMapFile, ranges: &[IdRange], writer: IdMapWriter) -> String {
    let lines: Vec<String> = ranges.iter().map(IdRange::text).collect();
    match writer {
        IdMapWriter::Monitor => format!("echo {} > /proc/$INIT_PID/{}", ansi_quote(&lines.join("\n")), file.name()),
        IdMapWriter::Newidmap => format!("{} $INIT_PID {}", file.program(), lines.join(" ")),
    }
}

/// `$'…'`, for content with line breaks.
fn ansi_quote(text: &str) -> String {
    if !text.contains(['\n', '\t']) {
        return quote(text);
    }
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n").replace('\t', "\\t");
    format!("$'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_several_lines_stays_on_one() {
        assert_eq!(ansi_quote("a\nb'c\\"), r"$'a\nb\'c\\'");
        assert_eq!(ansi_quote("web"), "web");
    }

    #[test]
    fn a_map_of_more_than_ones_own_id_is_written_by_the_program_that_may() {
        let own = IdRange { inside: 0, outside: 1000, count: 1 };
        let ranges = vec![own, IdRange { inside: 1, outside: 100_000, count: 65536 }];
        for (file, ranges, writer, want) in [
            (IdMapFile::UidMap, vec![own], IdMapWriter::Monitor, "echo '0 1000 1' > /proc/$INIT_PID/uid_map"),
            (
                IdMapFile::GidMap,
                ranges.clone(),
                IdMapWriter::Monitor,
                r"echo $'0 1000 1\n1 100000 65536' > /proc/$INIT_PID/gid_map",
            ),
            (IdMapFile::GidMap, ranges, IdMapWriter::Newidmap, "newgidmap $INIT_PID 0 1000 1 1 100000 65536"),
        ] {
            assert_eq!(Step::IdMap { file, ranges, writer }.shell().to_string(), want);
        }
    }
}
