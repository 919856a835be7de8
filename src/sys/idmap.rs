//! The id maps of another process's user namespace (user_namespaces(7)). Decides nothing about which ids they hold.

use super::process::Pid;
use super::{fs, named_io};
use crate::error::{Errno, SysError, SysResult};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The whole map in one write: the kernel takes only one.
pub fn write(of: Pid, file: &str, text: &str) -> SysResult<()> {
    fs::write_existing(&path(of, file), text)
}

pub fn deny_setgroups(of: Pid) -> SysResult<()> {
    fs::write_existing(&path(of, "setgroups"), "deny")
}

fn path(of: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", of.0))
}

/// newuidmap(1) or newgidmap(1), from where a distribution installs set-user-id programs: not from our caller's PATH,
/// for what it finds there would be believed.
pub fn run(program: &str, of: Pid, ranges: &[String]) -> SysResult<()> {
    let call = || format!("{program} {} {}", of.0, ranges.join(" "));
    let numbers = ranges.iter().flat_map(|range| range.split(' '));
    let mut command = Command::new(format!("/usr/bin/{program}"));
    command.arg(of.0.to_string()).args(numbers).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let status = named_io(command.status(), call)?;
    if status.success() { Ok(()) } else { Err(SysError { call: call(), errno: Errno::EPERM }) }
}
