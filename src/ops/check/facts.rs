//! What a host is, as far as containers care. Reads only, and asks for nothing that the kernel would load a module for.

use crate::cgroup::{self, facts::Mode};
use crate::error::Result;
use crate::facts;
use crate::id::HostPath;
use crate::image;
use crate::net::{self, files};
use crate::ops::etc;
use crate::security;
use crate::state::Roots;
use crate::sys::fs;
use crate::sys::host::{self, Call};
use crate::sys::usage;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// It is root who looks.
    pub root: bool,
    /// `6.1.0-13-amd64`, and its first two numbers.
    pub release: String,
    pub kernel: (u32, u32),
    pub openat2: bool,
    pub pidfd: bool,
    pub mount_setattr: bool,
    pub cgroup_kill: bool,
    /// `None` where none is mounted.
    pub cgroups: Option<Cgroups>,
    /// Kinds that the kernel lacks.
    pub namespaces: Vec<&'static str>,
    /// How many there may be; `None` where the kernel has none.
    pub user_namespaces: Option<u64>,
    pub seccomp: bool,
    pub security: Security,
    pub overlay: Module,
    pub overlay_here: Overlay,
    pub store: String,
    /// The name of the store's file system.
    pub store_filesystem: String,
    pub space: Space,
    pub nftables: Module,
    pub ip_forward: bool,
    pub firewall: Firewall,
    /// Servers that a container asks for names.
    pub resolvers: Vec<IpAddr>,
    /// Its monitor asks them for it.
    pub forwards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroups {
    /// `1`, `2`, or `1, with 2 beside it`.
    pub mode: &'static str,
    pub writable: bool,
    pub controllers: Vec<String>,
    /// Rules for devices can be set.
    pub devices: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    None,
    Selinux,
    /// Whether the profile of ours is loaded.
    AppArmor {
        profile: bool,
    },
}

/// A part of the kernel that may be a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Module {
    There,
    /// It is loaded when it is needed.
    Loadable,
    None,
}

/// Whether an overlay's changes can lie on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    Fine,
    Not,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    pub at: String,
    /// In bytes.
    pub free: u64,
    /// Inodes; `None` where the file system makes them as they are needed.
    pub free_files: Option<u64>,
}

/// What others do with packets that are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Firewall {
    /// We may not look, or there is nothing loaded to look at.
    Hidden,
    Seen {
        /// Chains whose policy is drop: `ip filter FORWARD`.
        dropping: Vec<String>,
        /// Whose rules there are.
        owners: Vec<&'static str>,
        /// Rules of iptables-legacy.
        legacy: bool,
    },
}

pub(super) fn look(roots: &Roots) -> Result<HostFacts> {
    let release = host::kernel_release()?;
    let security = security::probe::probe()?;
    let modules = Modules::of(&release);
    let nftables = modules.state("nf_tables");
    let here = above(&roots.root);
    let (resolvers, forwards) = resolvers();
    let space = usage::of_filesystem(&here)?;
    Ok(HostFacts {
        root: host::uid() == 0,
        kernel: security.kernel,
        openat2: host::has_call(Call::Openat2),
        pidfd: host::has_call(Call::PidfdOpen),
        mount_setattr: host::has_call(Call::MountSetattr),
        cgroup_kill: security.kernel >= (5, 14),
        cgroups: cgroups(roots),
        namespaces: ["pid", "mnt", "net", "ipc", "uts"].into_iter().filter(|kind| !has_namespace(kind)).collect(),
        user_namespaces: user_namespaces(),
        seccomp: text("/proc/sys/kernel/seccomp/actions_avail").split_whitespace().any(|word| word == "errno"),
        security: match (security.apparmor, security.selinux) {
            (true, _) => {
                Security::AppArmor { profile: security.apparmor_profiles.iter().any(|p| p == "minirun-default") }
            }
            (false, true) => Security::Selinux,
            (false, false) => Security::None,
        },
        overlay: modules.state("overlay"),
        overlay_here: if image::takes_overlay(&space.name) { Overlay::Fine } else { Overlay::Not },
        store: roots.root.to_string(),
        store_filesystem: space.name,
        space: Space { at: here.display().to_string(), free: space.free, free_files: space.free_files },
        firewall: firewall(roots, nftables),
        nftables,
        ip_forward: text("/proc/sys/net/ipv4/ip_forward") == "1",
        resolvers,
        forwards,
        release,
    })
}

/// A file that is missing or cannot be read says nothing.
fn text(path: &str) -> String {
    fs::read_text(Path::new(path)).unwrap_or_default().trim().to_owned()
}

/// The directory, or the first above it that is there: where it would be made.
fn above(dir: &HostPath) -> PathBuf {
    let there = dir.as_path().ancestors().find(|dir| fs::exists(dir));
    there.unwrap_or(Path::new("/")).to_owned()
}

fn cgroups(roots: &Roots) -> Option<Cgroups> {
    let found = cgroup::probe::probe(&facts::cgroup_parent(roots)).ok()?;
    let mut controllers: Vec<String> = found.list.iter().flat_map(|one| one.controllers.clone()).collect();
    controllers.sort();
    controllers.dedup();
    let may_write = |dir: &HostPath| crate::sys::cgroup::may_write(dir.as_path());
    Some(Cgroups {
        mode: match found.mode {
            Mode::V1 => "1",
            Mode::V2 => "2",
            Mode::Hybrid => "1, with 2 beside it",
        },
        writable: found.list.iter().all(|one| one.writable && may_write(&one.mount)),
        controllers,
        devices: found.v1("devices").is_some() || found.unified().is_some(),
    })
}

fn has_namespace(kind: &str) -> bool {
    fs::read_link(Path::new(&format!("/proc/self/ns/{kind}"))).is_ok()
}

fn user_namespaces() -> Option<u64> {
    if !has_namespace("user") {
        return None;
    }
    Some(text("/proc/sys/user/max_user_namespaces").parse().unwrap_or(0))
}

fn resolvers() -> (Vec<IpAddr>, bool) {
    let (host, resolved) = etc::resolv_confs();
    let dns = files::Dns { ipv6: true, ..files::Dns::default() };
    if files::is_cut_off(&host, resolved.as_deref(), &dns) {
        return (files::servers(&host), true);
    }
    (files::servers(&files::resolv_conf(&host, resolved.as_deref(), &dns)), false)
}

/// nf_tables is asked only where it is there: a question to it would load it.
fn firewall(roots: &Roots, nftables: Module) -> Firewall {
    let foreign = match nftables {
        Module::There => net::probe::foreign(&roots.state).ok().flatten(),
        Module::Loadable | Module::None => None,
    };
    let Some(foreign) = foreign else { return Firewall::Hidden };
    let legacy = text("/proc/net/ip_tables_names").lines().any(|table| table == "filter");
    Firewall::Seen { dropping: foreign.dropping, owners: foreign.owners, legacy }
}

/// What proc_modules(5), proc_filesystems(5) and depmod's lists (modules.builtin(5), modules.dep(5)) say.
struct Modules {
    loaded: String,
    filesystems: String,
    builtin: String,
    loadable: String,
}

impl Modules {
    fn of(release: &str) -> Modules {
        let list = |name: &str| text(&format!("/lib/modules/{release}/{name}"));
        Modules {
            loaded: text("/proc/modules"),
            filesystems: text("/proc/filesystems"),
            builtin: list("modules.builtin"),
            loadable: list("modules.dep"),
        }
    }

    fn state(&self, name: &str) -> Module {
        let file = format!("/{name}.ko");
        let loaded = self.loaded.lines().any(|line| line.split(' ').next() == Some(name));
        let filesystem = self.filesystems.lines().any(|line| line.split('\t').nth(1) == Some(name));
        if loaded || filesystem || self.builtin.lines().any(|line| line.ends_with(&file)) {
            return Module::There;
        }
        let of = |line: &str| line.split(':').next().is_some_and(|path| path.contains(&file));
        match self.loadable.lines().any(of) {
            true => Module::Loadable,
            // nobody lists what is built into such a kernel, and there is nothing that a question could load
            false if self.builtin.is_empty() && name == "nf_tables" && has_nf_tables() => Module::There,
            false => Module::None,
        }
    }
}

/// Whether nf_tables answers, if only that it may not be asked.
fn has_nf_tables() -> bool {
    net::probe::has_nf_tables()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_there_or_can_be() {
        let modules = Modules {
            loaded: "nf_tables 32768 1 nft_ct, Live 0x0\nbridge 1 0 - Live 0x0".to_owned(),
            filesystems: "nodev\tproc\n\text4".to_owned(),
            builtin: "kernel/fs/ext4/ext4.ko\nkernel/net/bridge.ko".to_owned(),
            loadable: "kernel/fs/overlayfs/overlay.ko.zst:\nkernel/x/y.ko: kernel/fs/z.ko".to_owned(),
        };
        for (name, wanted) in [
            ("nf_tables", Module::There),
            ("ext4", Module::There),
            ("proc", Module::There),
            ("bridge", Module::There),
            ("overlay", Module::Loadable),
            ("y", Module::Loadable),
            ("z", Module::None),
            ("nf_table", Module::None),
        ] {
            assert_eq!(modules.state(name), wanted, "{name}");
        }
    }

    #[test]
    fn the_store_may_not_be_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = HostPath::parse(dir.path().join("a/b").to_str().unwrap()).unwrap();
        assert_eq!(above(&path), dir.path());
    }
}
