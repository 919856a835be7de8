//! Does the steps of the security domain, in the process that they are for. One way: nothing here gives anything back.

use super::capabilities::Caps;
use super::step::{Step, Undo};
use crate::error::{Errno, Error, Result};
use crate::sys::{credentials as sys, fs, rlimit, seccomp};
use std::path::Path;

pub fn apply(step: &Step) -> Result<()> {
    match step {
        Step::Rlimit(limit) => Ok(rlimit::set(limit.resource, limit.soft, limit.hard)?),
        Step::OomScoreAdj { value } => write("/proc/self/oom_score_adj", &value.to_string()),
        Step::Nice { value } => Ok(sys::set_nice(*value)?),
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
