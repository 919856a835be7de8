//! A profile file, in docker's format or OCI's, resolved for one architecture, set of capabilities and kernel. Pure.
//!
//! `profile.json` has the semantics of docker's current default profile (github.com/moby/profiles, seccomp, Apache-2.0).

use super::names::Arch;
use crate::error::{Error, Result};
use crate::security::capabilities::{Caps, parse};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    /// OCI; docker's archMap is the same for every architecture: its own and those it can run. We allow none of the
    /// others anyway, so neither is looked at.
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// Docker's older form.
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What of the profile holds here, as the `linux.seccomp` of a spec.
pub(super) fn resolve(text: &str, arch: Arch, bounding: Caps, kernel: (u32, u32)) -> Result<LinuxSeccomp> {
    let profile: Profile = serde_json::from_str(text).map_err(|e| {
        Error::user(format!("invalid seccomp profile: {e}"))
            .hint("docker's format, or the linux.seccomp of an OCI spec")
    })?;
    if profile.listener_path.is_some() {
        return Err(Error::user("seccomp listeners are not supported in a profile file"));
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.into_iter().flatten() {
        if holds(&rule, arch, bounding, kernel)? {
            syscalls.push(syscall(rule)?);
        }
    }
    let mut resolved = LinuxSeccomp::default();
    resolved
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_flags(profile.flags)
        .set_syscalls(Some(syscalls));
    Ok(resolved)
}

/// Docker's order: any of the excluded, or not all of the included, and the rule is out.
fn holds(rule: &Rule, arch: Arch, bounding: Caps, kernel: (u32, u32)) -> Result<bool> {
    let is_arch = |arches: &Option<Vec<String>>| arches.iter().flatten().any(|a| a == arch.goarch());
    let new_enough = |least: &Option<String>| least.as_deref().map(|v| version(v).map(|v| kernel >= v)).transpose();
    let (no, yes) = (&rule.excludes, &rule.includes);
    if is_arch(&no.arches) || new_enough(&no.min_kernel)? == Some(true) {
        return Ok(false);
    }
    for cap in no.caps.iter().flatten() {
        if has(bounding, cap) {
            return Ok(false);
        }
    }
    let arch_fits = yes.arches.as_ref().is_none_or(|list| list.is_empty() || is_arch(&yes.arches));
    let caps_fit = yes.caps.iter().flatten().all(|cap| has(bounding, cap));
    Ok(arch_fits && caps_fit && new_enough(&yes.min_kernel)? != Some(false))
}

/// A capability that we do not know is one that the container does not have.
fn has(bounding: Caps, cap: &str) -> bool {
    parse(cap).is_ok_and(|cap| bounding.has(cap))
}

/// `4.8`
fn version(text: &str) -> Result<(u32, u32)> {
    let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| Error::user(format!("invalid minKernel {text:?} in a seccomp profile")).hint("such as 4.8"))
}

fn syscall(rule: Rule) -> Result<LinuxSyscall> {
    let names = match (rule.name, rule.names) {
        (Some(_), Some(names)) if !names.is_empty() => {
            return Err(Error::user("a rule of a seccomp profile has both name and names"));
        }
        (Some(name), _) => vec![name],
        (None, names) => names.unwrap_or_default(),
    };
    let mut syscall = LinuxSyscall::default();
    syscall.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret);
    syscall.set_args(rule.args.filter(|args| !args.is_empty()));
    Ok(syscall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, caps: Caps, kernel: (u32, u32)) -> Result<Vec<String>> {
        let profile = resolve(text, Arch::X86_64, caps, kernel)?;
        Ok(profile.syscalls().iter().flatten().flat_map(|s| s.names().clone()).collect())
    }

    #[test]
    fn rules_hold_by_capability_architecture_and_kernel() {
        let rule = |rest: &str| {
            format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["x"],"action":"SCMP_ACT_ALLOW",{rest}}}]}}"#
            )
        };
        let kill: Caps = [caps::Capability::CAP_KILL].into_iter().collect();
        for (rest, caps, kernel, want) in [
            (r#""includes":{}"#, Caps::NONE, (5, 10), true),
            (r#""includes":{"caps":["CAP_KILL"]}"#, Caps::NONE, (5, 10), false),
            (r#""includes":{"caps":["CAP_KILL"]}"#, kill, (5, 10), true),
            (r#""includes":{"caps":["CAP_KILL","CAP_CHOWN"]}"#, kill, (5, 10), false),
            (r#""excludes":{"caps":["CAP_KILL"]}"#, kill, (5, 10), false),
            (r#""excludes":{"caps":["CAP_OF_THE_FUTURE"]}"#, kill, (5, 10), true),
            (r#""includes":{"arches":["amd64","arm64"]}"#, kill, (5, 10), true),
            (r#""includes":{"arches":["s390x"]}"#, kill, (5, 10), false),
            (r#""excludes":{"arches":["amd64"]}"#, kill, (5, 10), false),
            (r#""includes":{"minKernel":"4.8"}"#, kill, (5, 10), true),
            (r#""includes":{"minKernel":"6.12"}"#, kill, (6, 9), false),
            (r#""excludes":{"minKernel":"5.9"}"#, kill, (5, 10), false),
        ] {
            assert_eq!(names(&rule(rest), caps, kernel).unwrap().len(), usize::from(want), "{rest} {kernel:?}");
        }
        assert!(names(&rule(r#""includes":{"minKernel":"new"}"#), kill, (5, 10)).is_err());
        assert!(names(&rule(r#""name":"y""#), kill, (5, 10)).is_err());
    }

    #[test]
    fn both_formats_are_read() {
        let docker = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[],"syscalls":[{"name":"x","action":"SCMP_ACT_ERRNO","args":null,"comment":""}]}"#;
        let oci = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"flags":[],
            "syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}"#;
        for text in [docker, oci] {
            assert_eq!(names(text, Caps::NONE, (5, 10)).unwrap(), ["x"]);
        }
        assert!(names("{}", Caps::NONE, (5, 10)).is_err());
    }
}
