//! "Nothing left", judged by other tools than minirun: everything that a command could leave on a host, as sorted lines,
//! compared whole. A sandbox is a host of its own, so nothing else changes it; only numbers that count time are left out.

use super::command::seconds;
use super::sandbox::Sandbox;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Section name to sorted lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, Vec<String>>);

/// Each is printed by one tool as one JSON list.
const NETWORK: &[(&str, &str)] = &[
    ("links", "ip -d -j link"),
    ("addresses", "ip -j address"),
    ("routes", "ip -4 -j route show table all"),
    ("routes6", "ip -6 -j route show table all"),
    ("rules", "ip -j rule"),
    ("neighbours", "ip -j neighbour"),
    ("nft", "nft -j list ruleset"),
];

/// Members that change by themselves: a bridge's timers, what a neighbour was last seen as, an nft object's number, and
/// whether a link has a carrier.
const VOLATILE: &[&str] =
    &["hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "state", "handle", "operstate"];
/// The same as flags, of links and of routes.
const CARRIER: &[&str] = &["NO-CARRIER", "LOWER_UP", "linkdown"];

impl Snapshot {
    /// What is there when every monitor has a container or has ended: it answers its command a little before that.
    pub fn of(sandbox: &Sandbox) -> Snapshot {
        settle(sandbox.pid);
        let mut sections = BTreeMap::new();
        let script: Vec<String> = NETWORK.iter().map(|(_, command)| format!("{command}; echo; echo =====")).collect();
        let sysctls = "grep -rs . /proc/sys/net | grep -v nf_conntrack_count; true";
        let said = sandbox.in_network(&format!("{}; {sysctls}", script.join("; "))).text();
        let mut parts = said.split("=====\n");
        for ((name, _), text) in NETWORK.iter().zip(&mut parts) {
            sections.insert(*name, json_lines(text));
        }
        sections.insert("sysctls", parts.next().unwrap().lines().map(str::to_owned).collect());
        sections.insert("mounts", mounts(&proc(sandbox.pid, "mountinfo")));
        sections.insert("processes", processes(sandbox.pid));
        sections.insert("cgroups", sandbox.cgroup_branches().iter().flat_map(|dir| directories(dir)).collect());
        sections.insert("run", tree(Path::new(&format!("/proc/{}/root/run", sandbox.pid))));
        sections.insert("minirun root", tree(&sandbox.path("root")));
        sections.insert("minirun state", without_events(tree(&sandbox.path("state"))));
        sections.values_mut().for_each(|lines| lines.sort());
        Snapshot(sections)
    }

    /// One line for each difference, `- section: line` for what is gone and `+ section: line` for what is new.
    pub fn changes(&self, after: &Snapshot) -> Vec<String> {
        let mut changes = Vec::new();
        for (section, before) in &self.0 {
            let (gone, new) = (without(before, &after.0[section]), without(&after.0[section], before));
            changes.extend(gone.iter().map(|line| format!("- {section}: {line}")));
            changes.extend(new.iter().map(|line| format!("+ {section}: {line}")));
        }
        changes
    }

    /// Panics unless the sandbox is, within a few seconds, as it was: the kernel takes links down with their network
    /// namespace some time after its last process.
    #[track_caller]
    pub fn assert_same(&self, sandbox: &Sandbox) {
        self.assert_only(sandbox, |_| false);
    }

    /// Panics where anything stays changed but what `documented` says yes to.
    #[track_caller]
    pub fn assert_only(&self, sandbox: &Sandbox, documented: impl Fn(&str) -> bool) {
        let end = std::time::Instant::now() + seconds(20);
        loop {
            let mut changes = self.changes(&Snapshot::of(sandbox));
            changes.retain(|line| !documented(line));
            if changes.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < end, "something is left or gone:\n{}\n", changes.join("\n"));
        }
    }
}

/// The lines of one list that are not in the other, each as often as it is missing there.
pub fn without(lines: &[String], other: &[String]) -> Vec<String> {
    let mut other: Vec<&String> = other.iter().collect();
    let is_new = |line: &&String| other.iter().position(|o| o == line).map(|at| other.swap_remove(at)).is_none();
    lines.iter().filter(is_new).cloned().collect()
}

fn json_lines(text: &str) -> Vec<String> {
    let value: Value =
        if text.trim().is_empty() { Value::Array(Vec::new()) } else { serde_json::from_str(text).unwrap() };
    let list = value.get("nftables").unwrap_or(&value).as_array().unwrap();
    list.iter().map(|item| settled(item.clone()).to_string()).collect()
}

fn settled(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            members.values_mut().for_each(|v| *v = settled(v.take()));
        }
        Value::Array(items) => {
            items.retain(|item| !item.as_str().is_some_and(|flag| CARRIER.contains(&flag)));
            items.iter_mut().for_each(|v| *v = settled(v.take()));
        }
        _ => {}
    }
    value
}

/// mountinfo without the mounts' and peer groups' numbers (proc_pid_mountinfo(5)).
fn mounts(text: &str) -> Vec<String> {
    let word = |(n, word): (usize, &str)| match (n, word.split_once(':')) {
        (0 | 1, _) => None,
        (6.., Some((kind @ ("shared" | "master" | "propagate_from"), _))) => Some(kind.to_owned()),
        _ => Some(word.to_owned()),
    };
    text.lines().map(|line| line.split(' ').enumerate().filter_map(word).collect::<Vec<_>>().join(" ")).collect()
}

/// What was told of what happened stays until a reboot or `system reset`, on purpose.
fn without_events(mut tree: Vec<String>) -> Vec<String> {
    tree.retain(|line| !line.contains("/state/events ") && !line.contains("/state/events/log"));
    tree
}

/// Whether there is a monitor without a child.
/// Waits until no monitor is without a container; panics with what it waits for where one does not end.
fn settle(pid: u32) {
    let end = std::time::Instant::now() + seconds(20);
    loop {
        let idle = idle_monitors(pid);
        if idle.is_empty() {
            return;
        }
        let look = |pid: &String| format!("{pid}: {}", ["syscall", "stack"].map(|file| said(pid, file)).join("\n"));
        let late = std::time::Instant::now() > end;
        assert!(!late, "a monitor without a container does not end: {}", idle.iter().map(look).collect::<String>());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn said(pid: &str, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|e| e.to_string())
}

fn idle_monitors(pid: u32) -> Vec<String> {
    let monitors = processes(pid).into_iter().filter(|line| line.contains(" minirun-monitor "));
    let mut pids = monitors.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>();
    let children = |pid: &String| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    pids.retain(|pid| children(pid).is_ok_and(|children| children.trim().is_empty()));
    pids
}

/// Every process that lives in the sandbox's pid or network namespace, or descends from one that does.
pub fn processes(pid: u32) -> Vec<String> {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let wanted = ["pid", "net"].map(|kind| namespace(&pid.to_string(), kind).unwrap());
    let lives_inside =
        |pid: &str| ["pid", "net"].iter().zip(&wanted).any(|(k, w)| namespace(pid, k).as_ref() == Some(w));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let is_number = name.bytes().all(|b| b.is_ascii_digit());
        if is_number && std::iter::successors(Some(name.clone()), |pid| parent(pid)).any(|pid| lives_inside(&pid)) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{name} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

fn parent(pid: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?;
    (parent != "0").then(|| parent.to_owned())
}

fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// The directories below one, by their whole paths.
fn directories(dir: &Path) -> Vec<String> {
    let mut found = vec![dir.display().to_string()];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(directories(&entry.path()));
        }
    }
    found
}

/// Everything below a directory: path, mode (type included), owner, and the size of what is no directory.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        let size = if meta.is_dir() { 0 } else { meta.len() };
        found.push(format!("{} {:o} {}:{} {size}", entry.path().display(), meta.mode(), meta.uid(), meta.gid()));
        if meta.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::requires::requires;

    #[test]
    fn an_untouched_sandbox_stays_the_same() {
        requires![root, tool("nft")];
        let sandbox = Sandbox::new();
        sandbox.add_outside_host();
        let before = Snapshot::of(&sandbox);
        sandbox.sh(": nothing is done here").expect_code(0);
        before.assert_same(&sandbox);
    }

    #[test]
    fn whatever_is_left_is_seen() {
        requires![root, tool("nft")];
        let sandbox = Sandbox::new();
        let before = Snapshot::of(&sandbox);
        for (section, leave, remove) in [
            ("links", "ip link add left type veth peer name right", "ip link delete left"),
            ("addresses", "ip address add 127.0.0.9/32 dev lo", "ip address delete 127.0.0.9/32 dev lo"),
            ("routes", "ip route add 10.9.0.0/16 dev lo", "ip route delete 10.9.0.0/16 dev lo"),
            ("rules", "ip rule add from 10.9.0.1 table 9", "ip rule delete from 10.9.0.1 table 9"),
            ("nft", "nft add table inet left", "nft delete table inet left"),
            ("sysctls", "echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 0 >/proc/sys/net/ipv4/ip_forward"),
            ("mounts", "mount -n -t tmpfs left /mnt", "umount -n /mnt"),
            (
                "processes",
                "sleep 1000 </dev/null >/dev/null 2>&1 &",
                "until pidof sleep; do :; done; kill $(pidof sleep); while pidof sleep; do :; done",
            ),
            (
                "processes",
                "setsid unshare -pf sleep 1000 </dev/null >/dev/null 2>&1 &",
                "until pidof sleep; do :; done; kill -9 $(pidof sleep); while pidof sleep unshare; do :; done",
            ),
            (
                "cgroups",
                "mkdir $(findmnt -nro TARGET -t cgroup,cgroup2 | tail -1)/left",
                "rmdir $(findmnt -nro TARGET -t cgroup,cgroup2 | tail -1)/left",
            ),
            ("run", "touch /run/left", "rm /run/left"),
            ("run", "ip netns add left", "ip netns delete left; umount -n /run/netns; rmdir /run/netns"),
            ("minirun root", "touch $MINIRUN_ROOT/left", "rm $MINIRUN_ROOT/left"),
            ("minirun state", "mkdir $MINIRUN_STATE/left", "rmdir $MINIRUN_STATE/left"),
        ] {
            sandbox.sh(leave).expect_code(0);
            let changes = before.changes(&Snapshot::of(&sandbox));
            assert!(changes.iter().any(|line| line.starts_with(&format!("+ {section}: "))), "{leave}: {changes:?}");
            sandbox.sh(remove).expect_code(0);
            before.assert_same(&sandbox);
        }
    }

    #[test]
    fn lines_are_compared_as_often_as_they_stand_there() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(without(&lines("a a b"), &lines("a c")), lines("a b"));
    }
}
