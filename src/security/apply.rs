//! Does the steps of the security domain, in the process that they are for. One way: nothing here gives anything back.

use super::capabilities::Caps;
use super::rlimits::{name, number};
use super::step::{Step, Undo};
use crate::error::{During as _, Errno, Error, Result};
use crate::sys::process::{Pid, known};
use crate::sys::{credentials as sys, fs, rlimit, seccomp};
use std::path::Path;

/// `init` is known where it is done to it by somebody else.
pub fn apply(step: &Step, init: Option<Pid>) -> Result<()> {
    match step {
        Step::ToInit(step) => {
            let init = known(init)?;
            limit(step, init, &init.to_string())
        }
        Step::Rlimit(_) | Step::OomScoreAdj { .. } | Step::Nice { .. } => limit(step, Pid(0), "self"),
        Step::AppArmorOnExec { profile } => apparmor_on_exec(profile),
        Step::SelinuxOnExec { label } => write("/proc/self/attr/exec", label),
        Step::NewSessionKeyring => new_session_keyring(),
        Step::NoNewPrivileges => Ok(sys::no_new_privileges()?),
        Step::Seccomp { filter, flags } => seccomp::load(filter.program(), *flags).map_err(|e| {
            Error::from(e).hint("the kernel needs CONFIG_SECCOMP_FILTER; without no_new_privs, we need CAP_SYS_ADMIN")
        }),
        Step::BoundingSet { keep } => Ok(sys::cut_bounding_set(keep.0)?),
        Step::KeepCapabilities => Ok(sys::keep_capabilities()?),
        Step::Groups { gids } => Ok(sys::set_groups(gids)?),
        Step::Gid { gid } => Ok(sys::set_gid(*gid)?),
        Step::Uid { uid } => Ok(sys::set_uid(*uid)?),
        Step::CapabilitySets { permitted, effective, inheritable } => {
            let set = |caps: &Caps| caps.list().into_iter().collect();
            Ok(sys::set_capabilities(&set(permitted), &set(effective), &set(inheritable))?)
        }
        Step::AmbientSet { caps } => Ok(sys::raise_ambient(&caps.list())?),
        Step::Umask { mask } => {
            sys::set_umask(*mask);
            Ok(())
        }
        Step::ClearParentDeathSignal => Ok(sys::clear_parent_death_signal()?),
        Step::ResetSignals => Ok(sys::reset_signals()?),
        Step::CloseOnExec { from } => Ok(sys::close_on_exec(*from)?),
    }
}

/// The three that are done to a process from outside, too; 0 is this one.
fn limit(step: &Step, of: Pid, name_in_proc: &str) -> Result<()> {
    match step {
        Step::Rlimit(limit) => rlimit::set(of, number(limit.resource), limit.soft, limit.hard)
            .during(|| format!("limit {}", name(limit.resource))),
        Step::OomScoreAdj { value } => write(&format!("/proc/{name_in_proc}/oom_score_adj"), &value.to_string()),
        Step::Nice { value } => Ok(sys::set_nice(of, *value)?),
        _ => Err(Error::internal("a step that is done to nobody but oneself")),
    }
}

pub fn undo(undo: &Undo) -> Result<()> {
    match *undo {}
}

fn write(path: &str, value: &str) -> Result<()> {
    Ok(fs::write_existing(Path::new(path), value)?)
}

/// AppArmor has a directory of its own since 5.8; where it is alone the old name works too (proc_pid_attr(5)).
fn apparmor_on_exec(profile: &str) -> Result<()> {
    let value = format!("exec {profile}");
    let written = match fs::write_existing(Path::new("/proc/self/attr/apparmor/exec"), &value) {
        Err(e) if e.errno == Errno::ENOENT && !fs::exists(Path::new("/proc/self/attr/apparmor")) => {
            fs::write_existing(Path::new("/proc/self/attr/exec"), &value)
        }
        done => done,
    };
    written.map_err(|e| {
        Error::from(e).hint(format!("is the profile loaded? grep {profile} /sys/kernel/security/apparmor/profiles"))
    })
}

/// A kernel without keys has none to protect.
fn new_session_keyring() -> Result<()> {
    match sys::new_session_keyring() {
        Err(e) if e.errno == Errno::ENOSYS => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a helper process is this test binary again, told by its environment what to be
mod tests {
    use super::*;
    use crate::security::capabilities::DEFAULT;
    use crate::security::plan::{Facts, Request, plan};
    use crate::security::probe::probe;
    use crate::security::seccomp::{Arch, Filter, SeccompChoice};
    use std::io::Write as _;
    use std::process::Command;

    const ROLE: &str = "MINIRUN_TEST_ROLE";

    /// Runs the test `helper` alone in a process of its own and gives what it wrote. None where we are not root.
    fn as_process(role: &str) -> Option<String> {
        if !nix::unistd::geteuid().is_root() {
            let _ = std::io::stderr().write_all(b"skipped: needs root\n");
            return None;
        }
        let mut helper = Command::new(std::env::current_exe().unwrap());
        helper.args(["--exact", "security::apply::tests::helper", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        let output = helper.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("helper done"), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Some(text)
    }

    /// Does nothing in the test run; in a helper process, it is the helper.
    #[test]
    fn helper() {
        let Some(role) = std::env::var_os(ROLE) else { return };
        let text = match role.to_str() {
            Some("filter") => filtered(&[]),
            Some("filter after no_new_privs") => filtered(&[Step::Uid { uid: 65534 }, Step::NoNewPrivileges]),
            Some("identity") => become_somebody("{}"),
            Some("identity with no_new_privs") => become_somebody(r#"{"noNewPrivileges":true}"#),
            role => panic!("{role:?}"),
        };
        std::io::stdout().write_all(format!("\n{text}\nhelper done\n").as_bytes()).unwrap();
        std::process::exit(0);
    }

    fn filtered(before: &[Step]) -> String {
        before.iter().for_each(|step| apply(step, None).unwrap());
        apply(&Step::Seccomp { filter: Filter::Default, flags: 4 }, None).unwrap();
        let numbers = Arch::NATIVE.numbers();
        let mut text = String::new();
        for (what, number, args) in [
            ("unshare user", numbers["unshare"], [0x1000_0000, 0, 0]),
            ("inet", numbers["socket"], [2, 2, 0]),
            ("vsock", numbers["socket"], [40, 1, 0]),
            ("vsock in disguise", numbers["socket"], [40 | 1 << 32, 1, 0]),
            ("unknown", 900, [0; 3]),
            ("x32", 1 << 30, [0; 3]),
            ("clone3", numbers["clone3"], [0; 3]),
            ("getppid", numbers["getppid"], [0; 3]),
        ] {
            let errno = seccomp::attempt(number, args).err();
            text += &format!("{what}: {}\n", errno.map_or("works".to_owned(), |e| format!("{e:?}")));
        }
        text
    }

    #[test]
    fn the_kernel_takes_the_default_filter_and_refuses_what_it_should() {
        for role in ["filter", "filter after no_new_privs"] {
            let Some(text) = as_process(role) else { return };
            for want in [
                "unshare user: EPERM",
                "inet: works",
                "vsock: EPERM",
                "vsock in disguise: EPERM",
                "unknown: ENOSYS",
                "x32: ENOSYS",
                "clone3: ENOSYS",
                "getppid: works",
            ] {
                assert!(text.lines().any(|line| line == want), "{want} in {text}");
            }
        }
    }

    fn become_somebody(more: &str) -> String {
        let caps = DEFAULT.names();
        let mut value = serde_json::json!({
            "cwd": "/",
            "user": {"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 63},
            "capabilities": {"bounding": caps, "permitted": caps, "effective": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
            "oomScoreAdj": 500,
        });
        let more: serde_json::Map<String, serde_json::Value> = serde_json::from_str(more).unwrap();
        value.as_object_mut().unwrap().extend(more);
        let facts: Facts = probe().unwrap();
        let request = Request { seccomp: SeccompChoice::Default, preserve_fds: 0 };
        let plan = plan(&serde_json::from_value(value).unwrap(), &request, &facts).unwrap();
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        let held = std::fs::File::open("/dev/null").unwrap();
        let plain = nix::unistd::dup(&held).unwrap();
        plan.inside_early.iter().chain(&plan.inside_late).for_each(|step| apply(step, None).unwrap());
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let flags = nix::fcntl::fcntl(&plain, nix::fcntl::F_GETFD).unwrap();
        let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        format!("{status}{limits}flags: {flags}\nscore: {score}").replace('\t', " ")
    }

    #[test]
    fn a_process_becomes_who_it_should_be() {
        for (role, no_new_privs) in [("identity", 0), ("identity with no_new_privs", 1)] {
            let Some(text) = as_process(role) else { return };
            for want in [
                "Umask: 0077",
                "Uid: 1000 1000 1000 1000",
                "Gid: 1001 1001 1001 1001",
                "Groups: 7 8 1001",
                "CapInh: 0000000000000000",
                "CapPrm: 00000000800405fb",
                "CapEff: 00000000800405fb",
                "CapBnd: 00000000800405fb",
                "CapAmb: 0000000000000000",
                &format!("NoNewPrivs: {no_new_privs}"),
                "Seccomp: 2",
                "SigBlk: 0000000000000000",
                "SigIgn: 0000000000000000",
                "flags: 1",
                "score: 500",
            ] {
                assert!(text.lines().any(|line| line.trim() == want), "{want} in {text}");
            }
            let files = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
            assert_eq!(files.split_whitespace().collect::<Vec<_>>()[3..5], ["64", "128"]);
        }
    }
}
