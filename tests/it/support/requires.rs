//! What a test needs of the machine. `requires![…]` stands first in a test: where something is missing, the test ends
//! there and its name and the reason go to the file $MINIRUN_SKIPS; with MINIRUN_STRICT=1 it fails instead.
//! hack/test compares the file with tests/skips.txt.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A thing that machines lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)] // they are read as words in `requires![…]`
pub enum Need<'a> {
    /// Root, with the right to make every namespace.
    root,
    /// A file system of type overlay can be mounted on the temporary directory's.
    overlay,
    /// Controllers on the v2 hierarchy.
    cgroup_v2,
    /// Controllers on v1 hierarchies.
    cgroup_v1,
    /// A v1 or v2 controller of this name.
    cgroup(&'a str),
    /// Bridges that filter VLANs.
    vlan,
    /// The rules of iptables-legacy, which newer kernels may be without, and its program.
    iptables_legacy,
    /// A link of this kind: `dummy`, `ipvlan`, `vxlan`.
    link(&'a str),
    /// Sockets of SCTP.
    sctp,
    /// A program of this name.
    tool(&'a str),
}

/// Ends the test here, and says why, unless the machine has all that is listed.
macro_rules! requires {
    ($($need:ident $(($what:literal))?),+ $(,)?) => {
        if $crate::support::requires::missing(
            $crate::support::requires::test_name(|| {}),
            &[$($crate::support::requires::Need::$need $(($what))?),+],
        ) {
            return;
        }
    };
}
pub(crate) use requires;

/// The name of the test as the harness has it; a closure's type has it in its own. (The thread's name is it only where
/// tests run in threads of their own.)
pub fn test_name<F: Fn()>(_inside_it: F) -> &'static str {
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").map_or(name, |(_crate, rest)| rest);
    name.split("::{{closure}}").next().unwrap()
}

/// Whether the test cannot run here; if so, this has been recorded.
pub fn missing(test: &str, needs: &[Need<'_>]) -> bool {
    let Some(need) = needs.iter().find(|need| !need.is_met()) else { return false };
    assert!(std::env::var_os("MINIRUN_STRICT").is_none_or(|v| v != "1"), "skipped: {}", need.reason());
    eprintln!("skipped: {}", need.reason());
    if let Some(path) = std::env::var_os("MINIRUN_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{test}\t{}\n", need.reason()).as_bytes()).unwrap();
    }
    true
}

impl Need<'_> {
    /// The word by which tests/skips.txt knows it.
    fn reason(self) -> String {
        match self {
            Need::cgroup(name) => format!("cgroup {name}"),
            Need::link(kind) => format!("link {kind}"),
            Need::tool(name) => format!("tool {name}"),
            plain => format!("{plain:?}"),
        }
    }

    fn is_met(self) -> bool {
        static ROOT: OnceLock<bool> = OnceLock::new();
        static OVERLAY: OnceLock<bool> = OnceLock::new();
        let has = |controller| v1_controllers().iter().chain(&v2_controllers()).any(|c| c == controller);
        match self {
            Need::root => *ROOT.get_or_init(|| works("[ $(id -u) = 0 ] && unshare -m -p -n -i -u -C -f true")),
            Need::overlay => *OVERLAY.get_or_init(overlay_mounts),
            Need::cgroup_v2 => !v2_controllers().is_empty(),
            Need::cgroup_v1 => !v1_controllers().is_empty(),
            Need::cgroup("io") => has("io") || has("blkio"), // v1 calls it so
            Need::cgroup(name) => has(name),
            Need::iptables_legacy => works("unshare -n iptables-legacy -S"),
            Need::vlan => works("unshare -n ip link add br0 type bridge vlan_filtering 1"),
            Need::sctp => works("perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 132) or die'"),
            Need::link(kind) => {
                let made = format!("ip link add v0 type {kind} || ip link add v0 link p0 type {kind}");
                let with_number = format!("ip link add v0 type {kind} id 1 dstport 4789"); // vxlan
                works(&format!("unshare -n sh -c 'ip link add p0 type veth; {made} || {with_number}'"))
            }
            Need::tool(name) => works(&format!("command -v {name}")),
        }
    }
}

fn overlay_mounts() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m";
    works(&format!("cd '{}' && unshare -m sh -c '{mount}'", dir.path().display()))
}

/// The controllers of the v2 hierarchy, wherever it is mounted.
pub fn v2_controllers() -> Vec<String> {
    let at = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let text = at.iter().find_map(|dir| std::fs::read_to_string(format!("{dir}/cgroup.controllers")).ok());
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn v1_controllers() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|names| names.split(','));
    names.filter(|name| !name.is_empty() && !name.starts_with("name=")).map(str::to_owned).collect()
}

fn works(script: &str) -> bool {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    bash.status().unwrap().success()
}

#[test]
fn a_test_knows_its_own_name() {
    assert_eq!(test_name(|| {}), "support::requires::a_test_knows_its_own_name");
}

#[test]
fn a_missing_thing_is_seen_and_a_present_one_too() {
    assert!(!Need::tool("no-such-tool").is_met());
    assert!(Need::tool("bash").is_met());
    assert!(!Need::cgroup("no-such-controller").is_met());
}

#[test]
fn the_list_of_skips_knows_only_places_and_needs_that_are() {
    let plain =
        [Need::root, Need::overlay, Need::cgroup_v2, Need::cgroup_v1, Need::vlan, Need::sctp, Need::iptables_legacy]
            .map(Need::reason);
    for line in super::source::read("tests/skips.txt").lines().filter(|line| !line.starts_with('#')) {
        let (entry, why) = line.split_once(" # ").unwrap_or_else(|| panic!("{line}: say why"));
        let words: Vec<&str> = entry.split_whitespace().collect();
        let need = words[2..].join(" ");
        let known = match words[2] {
            "cgroup" => need == Need::cgroup(words[3]).reason(),
            "link" => need == Need::link(words[3]).reason(),
            "tool" => need == Need::tool(words[3]).reason(),
            _ => plain.contains(&need),
        };
        assert!(known && matches!(words[0], "here" | "guest" | "nowhere") && !why.trim().is_empty(), "{line}");
    }
}
