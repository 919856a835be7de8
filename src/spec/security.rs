//! Capabilities, `--security-opt` and what `--privileged` lifts. Pure: what the host offers comes in as facts.

use super::defaults;
use super::mount::host_path;
use super::request::RunRequest;
use super::{Lsm, SpecFacts};
use crate::error::{Error, Result};
use crate::id::HostPath;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr as _;

/// One `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityOpt {
    NoNewPrivileges(bool),
    Seccomp(SeccompChoice),
    /// A loaded AppArmor profile, or `unconfined`.
    Apparmor(String),
    /// `disable`, or a part of the SELinux label: `type:spc_t`.
    Label(String),
    /// `systempaths=unconfined`: nothing masked, nothing read-only.
    UnmaskSystemPaths,
}

/// Which seccomp filter the process gets; the filter itself is the security domain's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// The one built in.
    Default,
    Unconfined,
    /// A profile in docker's JSON form.
    File(HostPath),
}

impl fmt::Display for SecurityOpt {
    /// As it is given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecurityOpt::NoNewPrivileges(true) => f.write_str("no-new-privileges"),
            SecurityOpt::NoNewPrivileges(false) => f.write_str("no-new-privileges=false"),
            SecurityOpt::Seccomp(SeccompChoice::Default) => f.write_str("seccomp=builtin"),
            SecurityOpt::Seccomp(SeccompChoice::Unconfined) => f.write_str("seccomp=unconfined"),
            SecurityOpt::Seccomp(SeccompChoice::File(file)) => write!(f, "seccomp={file}"),
            SecurityOpt::Apparmor(profile) => write!(f, "apparmor={profile}"),
            SecurityOpt::Label(label) => write!(f, "label={label}"),
            SecurityOpt::UnmaskSystemPaths => f.write_str("systempaths=unconfined"),
        }
    }
}

/// docker's words; `key:value` is an old spelling of `key=value`. A relative profile is taken from `cwd`.
pub fn parse(text: &str, cwd: &str) -> Result<SecurityOpt> {
    let (key, value) = text.split_once(['=', ':']).map_or((text, None), |(key, value)| (key, Some(value)));
    let opt = match (key, value) {
        ("no-new-privileges", None | Some("true")) => SecurityOpt::NoNewPrivileges(true),
        ("no-new-privileges", Some("false")) => SecurityOpt::NoNewPrivileges(false),
        ("seccomp", Some("unconfined")) => SecurityOpt::Seccomp(SeccompChoice::Unconfined),
        ("seccomp", Some("builtin" | "default")) => SecurityOpt::Seccomp(SeccompChoice::Default),
        ("seccomp", Some(file)) if !file.is_empty() => SecurityOpt::Seccomp(SeccompChoice::File(host_path(file, cwd)?)),
        ("apparmor", Some(profile)) if !profile.is_empty() => SecurityOpt::Apparmor(profile.to_owned()),
        ("label", Some(label)) if is_label(label) => SecurityOpt::Label(label.to_owned()),
        ("systempaths", Some("unconfined")) => SecurityOpt::UnmaskSystemPaths,
        _ => {
            return Err(Error::user(format!("invalid --security-opt {text:?}")).hint(
                "no-new-privileges, seccomp=unconfined|FILE, apparmor=PROFILE, label=disable|type:T, \
                 systempaths=unconfined",
            ));
        }
    };
    Ok(opt)
}

fn is_label(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace) && !word.contains('\0');
    match text.split_once(':') {
        Some((part, value)) => ["user", "role", "type", "level"].contains(&part) && word(value),
        None => text == "disable",
    }
}

/// The filter that the options choose: the last word counts, and --privileged has none unless one is asked for.
pub fn seccomp(request: &RunRequest) -> SeccompChoice {
    let asked = request.security_opts.iter().rev().find_map(|opt| match opt {
        SecurityOpt::Seccomp(choice) => Some(choice.clone()),
        _ => None,
    });
    asked.unwrap_or(if request.privileged { SeccompChoice::Unconfined } else { SeccompChoice::Default })
}

pub(super) fn no_new_privileges(request: &RunRequest) -> bool {
    let asked = request.security_opts.iter().rev().find_map(|opt| match opt {
        SecurityOpt::NoNewPrivileges(on) => Some(*on),
        _ => None,
    });
    asked.unwrap_or(false)
}

pub(super) fn unmasked(request: &RunRequest) -> bool {
    request.privileged || request.security_opts.contains(&SecurityOpt::UnmaskSystemPaths)
}

/// The sets of the first process: root has them all effective; another user has only the bounding set, as docker
/// does it; inheritable and ambient are always empty (CVE-2022-24769).
pub(super) fn capabilities(request: &RunRequest, facts: &SpecFacts, uid: u32) -> Result<LinuxCapabilities> {
    let names = chosen(request, &facts.capabilities)?;
    let set = oci_set(&names)?;
    let of_root = if uid == 0 { set.clone() } else { Capabilities::new() };
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set))
        .set_effective(Some(of_root.clone()))
        .set_permitted(Some(of_root))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    Ok(capabilities)
}

pub(super) fn oci_set(names: &BTreeSet<String>) -> Result<Capabilities> {
    names.iter().map(|name| known(name)).collect()
}

/// docker's rules (moby, oci/caps, TweakCapabilities): `--cap-add ALL` is everything but the dropped,
/// `--cap-drop ALL` is nothing but the added. `available` is our own bounding set.
fn chosen(request: &RunRequest, available: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let add = normal("--cap-add", &request.cap_add)?;
    let drop = normal("--cap-drop", &request.cap_drop)?;
    if request.privileged {
        return Ok(available.clone());
    }
    if let Some(name) = add.iter().find(|name| *name != "ALL" && !available.contains(*name)) {
        return Err(Error::host(format!("cannot add {name}: minirun itself does not have it here"))
            .hint("leave it out; the bounding set is CapBnd in /proc/self/status"));
    }
    let all = "ALL".to_owned();
    let defaults = || defaults::DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned());
    let base: BTreeSet<String> = match (add.contains(&all), drop.contains(&all)) {
        (true, _) => available.difference(&drop).cloned().collect(),
        (false, true) => BTreeSet::new(),
        (false, false) => defaults().filter(|name| available.contains(name) && !drop.contains(name)).collect(),
    };
    Ok(base.into_iter().chain(add.into_iter().filter(|name| *name != all)).collect())
}

/// What --cap-add takes, as people write it: `ALL`, `NET_ADMIN`.
pub fn capability_names() -> Vec<String> {
    let mut names: Vec<String> = caps::all().iter().map(|cap| cap.to_string().replacen("CAP_", "", 1)).collect();
    names.push("ALL".to_owned());
    names.sort();
    names
}

/// `net_admin`, `CAP_NET_ADMIN` and `NET_ADMIN` are one.
fn normal(flag: &str, names: &[String]) -> Result<BTreeSet<String>> {
    let normal_one = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Ok(short.to_owned());
        }
        let long = format!("CAP_{short}");
        known(&long).map(|_| long).map_err(|e| e.during(flag))
    };
    names.iter().map(normal_one).collect()
}

fn known(name: &str) -> Result<Capability> {
    Capability::from_str(name.strip_prefix("CAP_").unwrap_or(name))
        .map_err(|_| Error::user(format!("unknown capability {name:?}")).hint("capabilities(7) lists them"))
}

/// The AppArmor profile: the one asked for, ours where it is loaded, none with --privileged or without AppArmor.
pub(super) fn apparmor(request: &RunRequest, facts: &SpecFacts) -> Result<Option<String>> {
    let asked = request.security_opts.iter().rev().find_map(|opt| match opt {
        SecurityOpt::Apparmor(profile) => Some(profile.as_str()),
        _ => None,
    });
    let enabled = matches!(facts.lsm, Lsm::AppArmor { .. });
    match (asked, &facts.lsm) {
        (Some("unconfined"), _) => Ok(enabled.then(|| "unconfined".to_owned())),
        (Some(profile), Lsm::AppArmor { .. }) => Ok(Some(profile.to_owned())),
        (Some(profile), _) => Err(Error::host(format!("cannot use AppArmor profile {profile}: AppArmor is off here"))
            .hint("leave out --security-opt apparmor=…")),
        (None, Lsm::AppArmor { default_profile: Some(profile) }) if !request.privileged => Ok(Some(profile.clone())),
        (None, _) => Ok(None),
    }
}

/// The SELinux labels of process and mounts, where the host has SELinux: its policy's, changed part by part.
pub(super) fn selinux(request: &RunRequest, facts: &SpecFacts) -> Option<(String, String)> {
    let Lsm::Selinux { process_label, mount_label } = &facts.lsm else { return None };
    let words = request.security_opts.iter().filter_map(|opt| match opt {
        SecurityOpt::Label(word) => Some(word.as_str()),
        _ => None,
    });
    let mut process = process_label.clone();
    let mut mount = mount_label.clone();
    for word in words {
        let (part, value) = word.split_once(':')?; // `disable` has no part
        process = with_part(&process, part, value);
        if part == "level" {
            mount = with_part(&mount, part, value);
        }
    }
    (!request.privileged).then_some((process, mount))
}

/// `user:role:type:level` with one part replaced; the level may hold colons itself.
fn with_part(label: &str, part: &str, value: &str) -> String {
    let mut parts: Vec<&str> = label.splitn(4, ':').collect();
    let index = ["user", "role", "type", "level"].iter().position(|name| *name == part);
    if let Some(place) = index.and_then(|index| parts.get_mut(index)) {
        *place = value;
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::request::Source;

    fn names(add: &[&str], drop: &[&str], available: &[&str]) -> Result<String> {
        let mut request = RunRequest::new(Source::Image("x".into()));
        request.cap_add = add.iter().map(|s| (*s).to_owned()).collect();
        request.cap_drop = drop.iter().map(|s| (*s).to_owned()).collect();
        let available = available.iter().map(|s| format!("CAP_{s}")).collect();
        let names = chosen(&request, &available)?;
        Ok(names.iter().map(|name| &name["CAP_".len()..]).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        const HAVE: &[&str] = &["CHOWN", "KILL", "NET_ADMIN", "SYS_ADMIN"];
        for (add, drop, want) in [
            (&[][..], &[][..], "CHOWN KILL"),
            (&["net_admin"], &[], "CHOWN KILL NET_ADMIN"),
            (&["CAP_NET_ADMIN"], &["cap_kill"], "CHOWN NET_ADMIN"),
            (&[], &["ALL"], ""),
            (&["KILL"], &["all"], "KILL"),
            (&["ALL"], &[], "CHOWN KILL NET_ADMIN SYS_ADMIN"),
            (&["ALL"], &["SYS_ADMIN"], "CHOWN KILL NET_ADMIN"),
        ] {
            assert_eq!(names(add, drop, HAVE).unwrap(), want, "{add:?} {drop:?}");
        }
        assert!(names(&["FLY"], &[], HAVE).unwrap_err().message.contains("--cap-add"));
        assert!(names(&[], &["FLY"], HAVE).is_err());
        assert!(names(&["SYS_TIME"], &[], HAVE).unwrap_err().message.contains("CAP_SYS_TIME"));
    }

    #[test]
    fn security_options_are_dockers() {
        for (text, want) in [
            ("no-new-privileges", Some(SecurityOpt::NoNewPrivileges(true))),
            ("no-new-privileges:true", Some(SecurityOpt::NoNewPrivileges(true))),
            ("no-new-privileges=false", Some(SecurityOpt::NoNewPrivileges(false))),
            ("seccomp=unconfined", Some(SecurityOpt::Seccomp(SeccompChoice::Unconfined))),
            ("seccomp=p.json", Some(SecurityOpt::Seccomp(SeccompChoice::File(HostPath::parse("/w/p.json").unwrap())))),
            ("apparmor=docker-default", Some(SecurityOpt::Apparmor("docker-default".into()))),
            ("label=disable", Some(SecurityOpt::Label("disable".into()))),
            ("label=type:spc_t", Some(SecurityOpt::Label("type:spc_t".into()))),
            ("label:level:s0:c1,c2", Some(SecurityOpt::Label("level:s0:c1,c2".into()))),
            ("systempaths=unconfined", Some(SecurityOpt::UnmaskSystemPaths)),
            ("label=color:red", None),
            ("seccomp=", None),
            ("no-new-privileges=maybe", None),
            ("proc=x", None),
        ] {
            assert_eq!(parse(text, "/w").ok(), want, "{text:?}");
        }
    }

    #[test]
    fn the_last_seccomp_option_wins_over_privileged() {
        let mut request = RunRequest::new(Source::Image("x".into()));
        assert_eq!(seccomp(&request), SeccompChoice::Default);
        request.privileged = true;
        assert_eq!(seccomp(&request), SeccompChoice::Unconfined);
        request.security_opts = vec![parse("seccomp=builtin", "/").unwrap()];
        assert_eq!(seccomp(&request), SeccompChoice::Default);
    }

    #[test]
    fn a_label_changes_part_by_part() {
        let label = "system_u:system_r:container_t:s0:c1,c2";
        assert_eq!(with_part(label, "type", "spc_t"), "system_u:system_r:spc_t:s0:c1,c2");
        assert_eq!(with_part(label, "level", "s0:c5"), "system_u:system_r:container_t:s0:c5");
    }
}
