//! A container as other tools see it, be it a real one or one that a script has made: everything that is its own and
//! what it changed on the host, as lines. What two containers may differ in is the caller's list of masks.

use super::command::output;
use super::sandbox::Sandbox;
use super::snapshot::without;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Section name to lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump(BTreeMap<String, Vec<String>>);

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    pub id: &'a str,
    /// Its first process, as the sandbox numbers it.
    pub pid: &'a str,
    /// Its root as that process names it; empty once it has pivoted.
    pub root: &'a str,
    /// Where what it changed of its image lies.
    pub upper: &'a str,
    /// The sandbox's mountinfo before there was a container.
    pub mounts_before: &'a str,
}

/// What two containers may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The value of this member in the JSON of ip and nft.
    Member(&'static str),
    /// What is in the files of this name in cgroups or below /proc/sys/net.
    File(&'static str),
    /// The container's id, whole or its first twelve digits.
    Id,
    /// Name, MAC and link-local address of the host's end of its veth.
    HostEnd,
}

/// `$1` is a container's first process, `$2` its root, `$3` where its changes lie. Every section has one tool.
const SCRIPT: &str = r#"
network='
part() { echo; echo "=====$where $1"; }
part links;     ip -d -j link
part addresses; ip -d -j address
part routes;    ip -d -4 -j route show table all
part routes6;   ip -d -6 -j route show table all
part nft;       nft -j list ruleset
part sysctls;   cd /proc/sys/net && grep -rs . . || :
'
part() { echo; echo "=====$1"; }
where=host bash -c "$network"
where=inside nsenter -t $1 -n bash -c "$network"
part 'inside mounts';   cat /proc/$1/mountinfo
part 'cgroups';         cat /proc/$1/cgroup
part 'cgroup files';    find /sys/fs/cgroup/ -path '*/minirun*' -not -path '*/monitors*' -printf '%p %M %U:%G\n'
part 'cgroup values';   find /sys/fs/cgroup/ -path '*/minirun*' -not -path '*/monitors*' -type f -exec grep -Hs . {} + || :
part 'namespaces';      for n in /proc/$1/ns/*; do [ $n -ef /proc/self/ns/${n##*/} ] && echo "${n##*/} of the host" || echo "${n##*/}"; done
part 'names';           nsenter -t $1 -u cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname
part 'process';         cd /proc/$1; grep -H . limits oom_score_adj uid_map gid_map
cd /proc/$1/root$2
part 'dev';             find dev -exec stat -c '%n: %A %u:%g %t:%T %N' {} +
part 'files';           stat -c '%n: %A %u:%g' . etc/host* etc/resolv.conf; grep -H . etc/host* etc/resolv.conf
part 'changes';         find $3/ -mindepth 1 -printf '%P: %M %U:%G %l\n'
"#;

impl Dump {
    /// What there is now, but for what the masks name.
    pub fn of(sandbox: &Sandbox, of: Container<'_>, masks: &[(Mask, &str)]) -> Dump {
        let mut bash = sandbox.command("bash");
        bash.args(["-c", SCRIPT, "dump", of.pid, of.root, of.upper]);
        let said = output(&mut bash);
        assert!(said.stderr.is_empty(), "{said}");
        let masks: Vec<Mask> = masks.iter().map(|(mask, _why)| *mask).collect();
        let text = said.text();
        let parts = text.split("\n=====").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")));
        let mut sections: BTreeMap<String, Vec<String>> =
            parts.map(|(name, text)| (name.to_owned(), lines(name, text, of.root, &masks))).collect();
        let names = names(&sections, of.id, &masks);
        let unnamed = |line: &mut String| names.iter().for_each(|(name, word)| *line = line.replace(name, word));
        sections.values_mut().flatten().for_each(unnamed);
        sections.insert("host mounts".to_owned(), host_mounts(sandbox, of.mounts_before));
        Dump(sections)
    }

    /// One line for each difference, `- section: line` for what only this one has, `+ section: line` for the other.
    pub fn differences(&self, other: &Dump) -> Vec<String> {
        assert!(self.0.keys().eq(other.0.keys()));
        let mut found = Vec::new();
        for (section, lines) in &self.0 {
            let (gone, new) = (without(lines, &other.0[section]), without(&other.0[section], lines));
            found.extend(gone.iter().map(|line| format!("- {section}: {line}")));
            found.extend(new.iter().map(|line| format!("+ {section}: {line}")));
        }
        found
    }

    pub fn section(&self, name: &str) -> &[String] {
        &self.0[name]
    }
}

fn lines(section: &str, text: &str, root: &str, masks: &[Mask]) -> Vec<String> {
    match section.split_once(' ').map_or(section, |(_where, what)| what) {
        "links" | "addresses" | "routes" | "routes6" | "nft" => json_lines(text, masks),
        "mounts" => mounts(text, root),
        "sysctls" | "values" => text.lines().filter(|line| !is_masked(line, masks)).map(str::to_owned).collect(),
        _ => text.lines().map(str::to_owned).collect(),
    }
}

fn json_lines(text: &str, masks: &[Mask]) -> Vec<String> {
    // ip says nothing where there is nothing
    let value: Value =
        if text.trim().is_empty() { Value::Array(Vec::new()) } else { serde_json::from_str(text).unwrap() };
    let list = value.get("nftables").unwrap_or(&value).as_array().unwrap();
    list.iter().map(|item| masked(item.clone(), masks).to_string()).collect()
}

fn masked(mut value: Value, masks: &[Mask]) -> Value {
    let is = |mask: &Mask, name: &str| matches!(mask, Mask::Member(member) if *member == name);
    match &mut value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                *value =
                    if masks.iter().any(|mask| is(mask, name)) { "…".into() } else { masked(value.take(), masks) };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| *v = masked(v.take(), masks)),
        _ => {}
    }
    value
}

/// Whether a line `path:value` of grep is of a file whose content does not count.
fn is_masked(line: &str, masks: &[Mask]) -> bool {
    let (path, _value) = line.split_once(':').unwrap();
    let name = path.rsplit('/').next().unwrap();
    masks.iter().any(|mask| matches!(mask, Mask::File(file) if *file == name))
}

/// mountinfo (proc_pid_mountinfo(5)) at and below `root`, with mount points instead of the mounts' numbers, and anonymous
/// devices numbered in the order in which they appear.
fn mounts(text: &str, root: &str) -> Vec<String> {
    let mut points = HashMap::new();
    let mut devices: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(point) = words[4].strip_prefix(root).filter(|p| p.is_empty() || p.starts_with('/')) else { continue };
        let point = if point.is_empty() { "/" } else { point };
        points.insert(words[0], point);
        let on = points.get(words[1]).unwrap_or(&"-");
        let at = devices.iter().position(|device| *device == words[2]);
        let device = at.unwrap_or_else(|| {
            devices.push(words[2]);
            devices.len() - 1
        });
        let rest = words[5..].iter().map(|word| match word.split_once(':') {
            Some((kind @ ("shared" | "master" | "propagate_from"), _number)) => kind,
            _ => word,
        });
        found.push(format!("{point} on {on}: {} {} of device {device}", words[3], rest.collect::<Vec<_>>().join(" ")));
    }
    found
}

fn host_mounts(sandbox: &Sandbox, before: &str) -> Vec<String> {
    let now = mount_table(sandbox);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, now) = (lines(before), lines(&now));
    let gone = without(&before, &now).into_iter().map(|line| format!("gone: {line}"));
    gone.chain(without(&now, &before)).collect()
}

/// The mounts of the sandbox itself.
pub fn mount_table(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(format!("/proc/{}/mountinfo", sandbox.pid)).unwrap()
}

/// What is an id or made of one, and the word that stands for it.
fn names(sections: &BTreeMap<String, Vec<String>>, id: &str, masks: &[Mask]) -> Vec<(String, &'static str)> {
    let mut names = Vec::new();
    if masks.contains(&Mask::HostEnd) {
        let links = sections["host addresses"].iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        for link in links.filter(|link| link["ifalias"].as_str().is_some_and(|alias| alias.contains(id))) {
            let addresses = link["addr_info"].as_array().unwrap().iter().map(|address| &address["local"]);
            names.extend(addresses.map(|address| (address.as_str().unwrap().to_owned(), "VETH-ADDRESS")));
            names.push((link["ifname"].as_str().unwrap().to_owned(), "VETH"));
            names.push((link["address"].as_str().unwrap().to_owned(), "VETH-MAC"));
        }
    }
    if masks.contains(&Mask::Id) {
        names.extend([(id.to_owned(), "ID"), (id[..12].to_owned(), "ID12")]);
    }
    names
}
