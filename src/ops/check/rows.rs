//! From what a host is to what that means for containers: a row for each fact. Pure.

use super::facts::{Cgroups, Firewall, HostFacts, Module, Overlay, Security, Space};

/// How good a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ok,
    /// Containers run without it, with less.
    Degraded,
    /// No container runs without it.
    Missing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Missing => "missing",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    /// What to do, where it could be better.
    pub remedy: Option<String>,
}

/// Who is not root gets no more than that.
const AS_ROOT: &str = "sudo minirun info --check";

impl Row {
    /// It is not known how good it is.
    pub fn is_hidden(&self) -> bool {
        self.remedy.as_deref() == Some(AS_ROOT)
    }
}

fn ok(name: &'static str, detail: impl Into<String>) -> Row {
    Row { name, state: State::Ok, detail: detail.into(), remedy: None }
}

fn degraded(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Row {
    Row { name, state: State::Degraded, detail: detail.into(), remedy: Some(remedy.into()) }
}

fn missing(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Row {
    Row { name, state: State::Missing, detail: detail.into(), remedy: Some(remedy.into()) }
}

const OLDEST: (u32, u32) = (5, 10);
const BOOT_A_NEWER_KERNEL: &str = "use a newer kernel";

/// Free bytes below which little can be pulled, and below which nothing works.
const LITTLE_SPACE: u64 = 1 << 30;
const NO_SPACE: u64 = 16 << 20;

/// All rows, those first that everything stands on.
pub(super) fn rows(facts: &HostFacts) -> Vec<Row> {
    let mut rows = vec![kernel(facts)];
    rows.extend(calls(facts));
    rows.extend(cgroups(&facts.cgroups, facts.root));
    rows.push(namespaces(facts));
    rows.push(user_namespaces(facts));
    rows.push(seccomp(facts));
    rows.push(lsm(&facts.security));
    rows.push(overlay(facts));
    rows.push(space(&facts.space));
    rows.push(nftables(facts));
    rows.push(forwarding(facts));
    rows.extend(firewall(facts));
    rows.push(resolver(facts));
    rows
}

fn kernel(facts: &HostFacts) -> Row {
    let said = format!("Linux {}", facts.release);
    match facts.kernel < OLDEST {
        true => missing("kernel", format!("{said} is older than 5.10"), BOOT_A_NEWER_KERNEL),
        false => ok("kernel", said),
    }
}

fn calls(facts: &HostFacts) -> Vec<Row> {
    let required = |name, there, since: &str| match there {
        true => ok(name, "the kernel has it"),
        false => missing(
            name,
            format!("the kernel lacks it (Linux {since}), or something forbids it"),
            "use a newer kernel; in a container, one that is not confined by an older seccomp profile",
        ),
    };
    let useful = |name, there, without: &str, since: &str| match there {
        true => ok(name, "the kernel has it"),
        false => degraded(name, without, format!("use Linux {since} or newer")),
    };
    vec![
        required("openat2", facts.openat2, "5.6"),
        required("pidfd", facts.pidfd, "5.3"),
        useful(
            "mount_setattr",
            facts.mount_setattr,
            "each mount is made read-only by itself; no idmapped mounts",
            "5.12",
        ),
        useful("cgroup.kill", facts.cgroup_kill, "a container is frozen and killed process by process", "5.14"),
    ]
}

/// What limits are written by; v2 has cpuset, io and devices under other names or none.
const CONTROLLERS: [(&str, &str); 4] =
    [("memory", "-m"), ("cpu", "--cpus"), ("pids", "--pids-limit"), ("cpuset", "--cpuset-cpus")];

fn cgroups(found: &Option<Cgroups>, root: bool) -> Vec<Row> {
    let Some(found) = found else {
        return vec![missing(
            "cgroups",
            "no hierarchy is mounted",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or start with systemd",
        )];
    };
    let mode = format!("version {}", found.mode);
    let place = match (found.writable, root) {
        (true, _) => ok("cgroups", mode),
        (false, true) => missing(
            "cgroups",
            format!("{mode}, mounted read-only"),
            "mount -o remount,rw /sys/fs/cgroup; in a container, run it with --privileged",
        ),
        (false, false) => unknown("cgroups", mode),
    };
    let lacking: Vec<_> = CONTROLLERS.iter().filter(|(name, _)| !found.controllers.iter().any(|c| c == name)).collect();
    let words = found.controllers.join(" ");
    let controllers = match lacking.is_empty() {
        true => ok("controllers", words),
        false => {
            let names: Vec<&str> = lacking.iter().map(|(name, _)| *name).collect();
            let flags: Vec<&str> = lacking.iter().map(|(_, flag)| *flag).collect();
            let remedy = match names.contains(&"memory") {
                true => "boot with cgroup_enable=memory swapaccount=1",
                false => "a kernel with them, or a parent cgroup that gives them (cgroup.subtree_control)",
            };
            degraded("controllers", format!("no {}: {} is not to be had", names.join(", "), flags.join(", ")), remedy)
        }
    };
    let devices = match found.devices {
        true => ok("device rules", "devices can be kept from containers"),
        false => missing(
            "device rules",
            "neither cgroup v2 nor the controller devices",
            "mount -t cgroup -o devices devices /sys/fs/cgroup/devices",
        ),
    };
    vec![place, controllers, devices]
}

fn unknown(name: &'static str, detail: String) -> Row {
    let detail = if detail.is_empty() { detail } else { format!("{detail}; ") };
    degraded(name, format!("{detail}the rest only root can see"), AS_ROOT)
}

fn namespaces(facts: &HostFacts) -> Row {
    match facts.namespaces.as_slice() {
        [] => ok("namespaces", "pid, mnt, net, ipc, uts"),
        lacking => {
            missing("namespaces", format!("the kernel has no {}", lacking.join(", ")), "a kernel with CONFIG_*_NS")
        }
    }
}

fn user_namespaces(facts: &HostFacts) -> Row {
    const NAME: &str = "user namespaces";
    match facts.user_namespaces {
        None => degraded(NAME, "the kernel has none: no --userns", "a kernel with CONFIG_USER_NS"),
        Some(0) => degraded(NAME, "none may be made: no --userns", "sysctl -w user.max_user_namespaces=15000"),
        Some(most) => ok(NAME, format!("at most {most}")),
    }
}

fn seccomp(facts: &HostFacts) -> Row {
    match facts.seccomp {
        true => ok("seccomp", "system calls are filtered"),
        false => missing(
            "seccomp",
            "the kernel has no filters",
            "a kernel with CONFIG_SECCOMP_FILTER; or run with --security-opt seccomp=unconfined",
        ),
    }
}

fn lsm(found: &Security) -> Row {
    const NAME: &str = "security module";
    match found {
        Security::None => ok(NAME, "none: capabilities, seccomp and namespaces confine"),
        Security::Selinux => ok(NAME, "SELinux"),
        Security::AppArmor { profile: true } => ok(NAME, "AppArmor, with the profile minirun-default"),
        Security::AppArmor { profile: false } => degraded(
            NAME,
            "AppArmor, and no profile minirun-default is loaded: containers are confined by the rest alone",
            "load one with apparmor_parser, or name another one: --security-opt apparmor=PROFILE",
        ),
    }
}

fn overlay(facts: &HostFacts) -> Row {
    let on = &facts.store_filesystem;
    match (facts.overlay, &facts.overlay_here) {
        (Module::None, _) => degraded(
            "overlay",
            "the kernel has no overlayfs: each container gets a copy of its image",
            "a kernel with CONFIG_OVERLAY_FS",
        ),
        (_, Overlay::Not) => degraded(
            "overlay",
            format!("{} lies on {on}, which holds no overlay: each container gets a copy of its image", facts.store),
            "for less room and a faster first start put the store on ext4, xfs or btrfs: --root DIR, or MINIRUN_ROOT",
        ),
        (Module::Loadable, Overlay::Fine) => {
            ok("overlay", format!("on {on}; the kernel loads it with the first mount"))
        }
        (Module::There, Overlay::Fine) => ok("overlay", format!("on {on}")),
    }
}

fn space(space: &Space) -> Row {
    const REMEDY: &str = "minirun system prune, or put the store elsewhere: --root DIR";
    let said = format!("{} MiB are free for {}", space.free >> 20, space.at);
    match space.free {
        free if free < NO_SPACE => missing("space", said, REMEDY),
        free if free < LITTLE_SPACE => degraded("space", said, REMEDY),
        _ if space.free_files.is_some_and(|files| files < 10_000) => {
            degraded("space", format!("{said}, but hardly any inodes"), REMEDY)
        }
        _ => ok("space", said),
    }
}

fn nftables(facts: &HostFacts) -> Row {
    match (facts.nftables, &facts.firewall) {
        (Module::None, _) => missing(
            "nftables",
            "the kernel has no nf_tables",
            "a kernel with CONFIG_NF_TABLES, or run with --network none or host",
        ),
        (Module::Loadable, _) => ok("nftables", "the kernel loads it with the first network"),
        (Module::There, Firewall::Hidden) => unknown("nftables", "nf_tables is there".to_owned()),
        (Module::There, _) => ok("nftables", "nf_tables answers"),
    }
}

fn forwarding(facts: &HostFacts) -> Row {
    match facts.ip_forward {
        true => ok("ip_forward", "net.ipv4.ip_forward is on"),
        false => degraded(
            "ip_forward",
            "net.ipv4.ip_forward is off: the first container on a bridge turns it on",
            "sysctl -w net.ipv4.ip_forward=1, and a file in /etc/sysctl.d to keep it",
        ),
    }
}

fn firewall(facts: &HostFacts) -> Vec<Row> {
    const NAME: &str = "firewall";
    let Firewall::Seen { dropping, owners, legacy } = &facts.firewall else { return Vec::new() };
    let named = if owners.is_empty() { String::new() } else { format!(" ({} is here)", owners.join(", ")) };
    let mut rows = Vec::new();
    if !dropping.is_empty() {
        rows.push(degraded(
            NAME,
            format!("{} drops what is forwarded{named}", dropping.join(", ")),
            "nothing, as long as it stays: minirun lets its own bridges through there, and takes that back",
        ));
    }
    if owners.contains(&"firewalld") {
        rows.push(degraded(
            NAME,
            "firewalld rejects what comes from bridges of no zone",
            "firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE; firewall-cmd --reload",
        ));
    }
    if *legacy {
        rows.push(degraded(
            NAME,
            "iptables-legacy has rules, which nf_tables does not show",
            "iptables-legacy -S FORWARD shows them; where they drop, minirun lets its bridges through by that program",
        ));
    }
    if rows.is_empty() {
        rows.push(ok(NAME, format!("nothing drops what is forwarded{named}")));
    }
    rows
}

fn resolver(facts: &HostFacts) -> Row {
    match facts.resolvers.as_slice() {
        [] => {
            degraded("resolver", "/etc/resolv.conf names no server", "run with --dns ADDRESS, or name a server there")
        }
        some => {
            let asked = if facts.forwards { "; containers' monitors ask for them" } else { "" };
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            ok("resolver", format!("{}{asked}", some.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> HostFacts {
        HostFacts {
            root: true,
            release: "6.12.1".to_owned(),
            kernel: (6, 12),
            openat2: true,
            pidfd: true,
            mount_setattr: true,
            cgroup_kill: true,
            cgroups: Some(Cgroups {
                mode: "2",
                writable: true,
                controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).to_vec(),
                devices: true,
            }),
            namespaces: Vec::new(),
            user_namespaces: Some(1000),
            seccomp: true,
            security: Security::None,
            overlay: Module::There,
            overlay_here: Overlay::Fine,
            store: "/var/lib/minirun".to_owned(),
            store_filesystem: "ext4".to_owned(),
            space: Space { at: "/var/lib/minirun".to_owned(), free: 9 << 30, free_files: Some(1 << 20) },
            nftables: Module::There,
            ip_forward: true,
            firewall: Firewall::Seen { dropping: Vec::new(), owners: Vec::new(), legacy: false },
            resolvers: vec!["192.0.2.53".parse().unwrap()],
            forwards: false,
        }
    }

    fn of<'a>(rows: &'a [Row], name: &str) -> &'a Row {
        rows.iter().find(|row| row.name == name && row.state != State::Ok).unwrap_or_else(|| panic!("{name}: {rows:?}"))
    }

    #[test]
    fn a_good_host_is_all_right() {
        let rows = rows(&good());
        assert!(rows.iter().all(|row| row.state == State::Ok && row.remedy.is_none()), "{rows:?}");
        assert_eq!(rows.len(), 18);
    }

    #[test]
    fn each_lack_is_one_row_with_a_remedy() {
        let cgroups = || good().cgroups.unwrap();
        let without = |name: &str| {
            let mut found = cgroups();
            found.controllers.retain(|controller| controller != name);
            Some(found)
        };
        let seen = |dropping: &[&str], owners: &[&'static str], legacy| Firewall::Seen {
            dropping: dropping.iter().map(|text| (*text).to_owned()).collect(),
            owners: owners.to_vec(),
            legacy,
        };
        let space = |free, files| Space { at: "/".to_owned(), free, free_files: Some(files) };
        let (degraded, missing) = (State::Degraded, State::Missing);
        for (facts, name, state) in [
            (HostFacts { kernel: (5, 9), ..good() }, "kernel", missing),
            (HostFacts { openat2: false, ..good() }, "openat2", missing),
            (HostFacts { pidfd: false, ..good() }, "pidfd", missing),
            (HostFacts { mount_setattr: false, ..good() }, "mount_setattr", degraded),
            (HostFacts { cgroup_kill: false, ..good() }, "cgroup.kill", degraded),
            (HostFacts { cgroups: None, ..good() }, "cgroups", missing),
            (HostFacts { cgroups: Some(Cgroups { writable: false, ..cgroups() }), ..good() }, "cgroups", missing),
            (HostFacts { cgroups: without("memory"), ..good() }, "controllers", degraded),
            (HostFacts { cgroups: Some(Cgroups { devices: false, ..cgroups() }), ..good() }, "device rules", missing),
            (HostFacts { namespaces: vec!["net"], ..good() }, "namespaces", missing),
            (HostFacts { user_namespaces: None, ..good() }, "user namespaces", degraded),
            (HostFacts { user_namespaces: Some(0), ..good() }, "user namespaces", degraded),
            (HostFacts { seccomp: false, ..good() }, "seccomp", missing),
            (HostFacts { security: Security::AppArmor { profile: false }, ..good() }, "security module", degraded),
            (HostFacts { overlay: Module::None, ..good() }, "overlay", degraded),
            (HostFacts { overlay_here: Overlay::Not, ..good() }, "overlay", degraded),
            (HostFacts { space: space(100 << 20, 1 << 20), ..good() }, "space", degraded),
            (HostFacts { space: space(1 << 20, 1 << 20), ..good() }, "space", missing),
            (HostFacts { space: space(9 << 30, 5), ..good() }, "space", degraded),
            (HostFacts { nftables: Module::None, ..good() }, "nftables", missing),
            (HostFacts { firewall: Firewall::Hidden, ..good() }, "nftables", degraded),
            (HostFacts { ip_forward: false, ..good() }, "ip_forward", degraded),
            (HostFacts { firewall: seen(&["ip filter FORWARD"], &["docker"], false), ..good() }, "firewall", degraded),
            (HostFacts { firewall: seen(&[], &["firewalld"], false), ..good() }, "firewall", degraded),
            (HostFacts { firewall: seen(&[], &[], true), ..good() }, "firewall", degraded),
            (HostFacts { resolvers: Vec::new(), ..good() }, "resolver", degraded),
        ] {
            let rows = rows(&facts);
            let row = of(&rows, name);
            assert_eq!(row.state, state, "{row:?}");
            assert!(row.remedy.is_some(), "{row:?}");
            assert_eq!(rows.iter().filter(|row| row.state != State::Ok).count(), 1, "{rows:?}");
        }
    }

    #[test]
    fn what_is_only_loaded_later_or_only_here_is_all_right() {
        let docker = Firewall::Seen { dropping: Vec::new(), owners: vec!["docker"], legacy: false };
        for facts in [
            HostFacts { overlay: Module::Loadable, ..good() },
            HostFacts { nftables: Module::Loadable, firewall: Firewall::Hidden, ..good() },
            HostFacts { firewall: docker, ..good() },
            HostFacts { security: Security::AppArmor { profile: true }, ..good() },
        ] {
            assert!(rows(&facts).iter().all(|row| row.state == State::Ok), "{:?}", rows(&facts));
        }
    }

    #[test]
    fn a_normal_user_is_told_what_only_root_sees() {
        let cgroups = Some(Cgroups { writable: false, ..good().cgroups.unwrap() });
        let rows = rows(&HostFacts { root: false, cgroups, firewall: Firewall::Hidden, ..good() });
        for name in ["cgroups", "nftables"] {
            assert_eq!(of(&rows, name).remedy.as_deref(), Some("sudo minirun info --check"));
        }
        assert!(rows.iter().all(|row| row.state != State::Missing));
    }
}
