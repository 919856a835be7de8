//! What kind of machine and process this is: ids, limits, capabilities, names.

use super::{named, named_raw};
use crate::error::SysResult;
use nix::sys::resource::Resource;
use std::collections::BTreeSet;

pub fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

pub fn gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// Whether this program got rights that its caller does not have (getauxval(3), AT_SECURE).
pub fn is_set_id() -> bool {
    // SAFETY: getauxval takes and gives plain numbers.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The host's name, as in uname(2).
pub fn hostname() -> SysResult<String> {
    named(nix::unistd::gethostname(), || "gethostname()".into()).map(|name| name.to_string_lossy().into_owned())
}

/// In what the kernel counts a process's time (proc_pid_stat(5)).
pub fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes and gives plain numbers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// What the host's ps(1) says, from where distributions install it: not from our caller's PATH. Where it fails, what it
/// says of that.
pub fn ps(options: &[String]) -> SysResult<std::result::Result<String, String>> {
    let mut command = std::process::Command::new("/usr/bin/ps");
    command.args(options).env_clear().stdin(std::process::Stdio::null());
    let output = super::named_io(command.output(), || "/usr/bin/ps".into())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// What `docker-credential-…` answers to a verb and what it is given to read, or what it says where it refuses. It is
/// the caller's own program, on the caller's own PATH and with the caller's environment, for it may ask at a desktop.
pub fn credential_helper(program: &str, verb: &str, words: &str) -> SysResult<std::result::Result<String, String>> {
    use std::io::Write as _;
    use std::process::Stdio;
    let call = || format!("{program} {verb}");
    let mut command = std::process::Command::new(program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = super::named_io(command.spawn(), call)?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(words.as_bytes()); // one that does not read says by its exit code whether it is content
    }
    let output = super::named_io(child.wait_with_output(), call)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() { Ok(text) } else { Err(text) })
}

/// The kernel's release: `6.1.0-13-amd64`.
pub fn kernel_release() -> SysResult<String> {
    let uname = named(nix::sys::utsname::uname(), || "uname()".into())?;
    Ok(uname.release().to_string_lossy().into_owned())
}

/// Resource limits by getrlimit(2)'s names without RLIMIT_.
const LIMITS: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// Our own hard limits; `u64::MAX` is unlimited.
pub fn hard_limits() -> SysResult<Vec<(&'static str, u64)>> {
    let hard = |(name, resource): &(&'static str, Resource)| {
        let limit = nix::sys::resource::getrlimit(*resource);
        named(limit, || format!("getrlimit({name})")).map(|(_, hard)| (*name, hard))
    };
    LIMITS.iter().map(hard).collect()
}

/// Our bounding set, as `CAP_CHOWN` and so on.
pub fn bounding_capabilities() -> BTreeSet<String> {
    let all = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    all.into_iter().map(|capability| capability.to_string()).collect()
}

/// System calls that kernels have, or have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Linux 5.6.
    Openat2,
    /// Linux 5.3.
    PidfdOpen,
    /// Linux 5.12.
    MountSetattr,
}

/// Whether the kernel has a call and lets us make it: it is asked for what it must refuse, so nothing is done.
pub fn has_call(call: Call) -> bool {
    let number = match call {
        Call::Openat2 => libc::SYS_openat2,
        Call::PidfdOpen => libc::SYS_pidfd_open,
        Call::MountSetattr => libc::SYS_mount_setattr,
    };
    let none = std::ptr::null::<u8>();
    // SAFETY: no pointer leads anywhere, and a structure of no size, or a process 0, is EINVAL before any is looked at.
    let done = unsafe {
        match call {
            Call::PidfdOpen => libc::syscall(number, 0, 0),
            Call::Openat2 => libc::syscall(number, -1, none, none, 0_usize),
            Call::MountSetattr => libc::syscall(number, -1, none, 0, none, 0_usize),
        }
    };
    done >= 0 || !matches!(nix::Error::last(), nix::Error::ENOSYS | nix::Error::EPERM)
}

/// CPUs online.
pub fn cpus() -> SysResult<u32> {
    // SAFETY: sysconf takes and gives plain numbers.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    named_raw(count, || "sysconf(_SC_NPROCESSORS_ONLN)".into()).map(|count| count as u32)
}

/// Fills with random bytes from the kernel.
pub fn random<const N: usize>() -> SysResult<[u8; N]> {
    let mut bytes = [0_u8; N];
    // SAFETY: the kernel writes at most N bytes into an array of N; up to 256 bytes come whole (getrandom(2)).
    let done = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), N, 0) };
    named_raw(done, || "getrandom()".into())?;
    Ok(bytes)
}
