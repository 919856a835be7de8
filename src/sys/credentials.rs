//! What a process is and hands on: user, groups, capabilities, keyring, umask, signals, descriptors. All of it is
//! about the calling thread, which must be the only one.

use super::process::Pid;
use super::{named, named_raw};
use crate::error::{Errno, SysError, SysResult};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{Gid, Uid};

fn prctl(option: libc::c_int, args: [libc::c_ulong; 4], call: &str) -> SysResult<libc::c_int> {
    let [a, b, c, d] = args;
    // SAFETY: only options that take plain numbers are used here.
    let done = unsafe { libc::prctl(option, a, b, c, d) };
    named(Errno::result(done), || format!("prctl({call})"))
}

pub fn no_new_privileges() -> SysResult<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0], "PR_SET_NO_NEW_PRIVS").map(drop)
}

pub fn keep_capabilities() -> SysResult<()> {
    prctl(libc::PR_SET_KEEPCAPS, [1, 0, 0, 0], "PR_SET_KEEPCAPS").map(drop)
}

pub fn clear_parent_death_signal() -> SysResult<()> {
    prctl(libc::PR_SET_PDEATHSIG, [0; 4], "PR_SET_PDEATHSIG, 0").map(drop)
}

/// Drops from the bounding set what is not in `keep`. The kernel may know more capabilities than any library:
/// it is asked for each number until it says that there is none.
pub fn cut_bounding_set(keep: u64) -> SysResult<()> {
    for cap in 0..64 {
        match prctl(libc::PR_CAPBSET_READ, [cap, 0, 0, 0], "PR_CAPBSET_READ") {
            Err(e) if e.errno == Errno::EINVAL => return Ok(()),
            Err(e) => return Err(e),
            Ok(1) if keep & (1 << cap) == 0 => {
                let name = |cap| caps::all().into_iter().find(|c| u64::from(c.index()) == cap).map(|c| c.to_string());
                prctl(libc::PR_CAPBSET_DROP, [cap, 0, 0, 0], "PR_CAPBSET_DROP").map_err(|e| SysError {
                    call: format!("prctl(PR_CAPBSET_DROP, {})", name(cap).unwrap_or(cap.to_string())),
                    ..e
                })?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The three sets of capset(2). The inheritable goes first, while the permitted one still covers it; the effective
/// before the permitted, for it may never be larger.
pub fn set_capabilities(permitted: &CapsHashSet, effective: &CapsHashSet, inheritable: &CapsHashSet) -> SysResult<()> {
    let sets = [
        (CapSet::Inheritable, inheritable, "inheritable"),
        (CapSet::Effective, effective, "effective"),
        (CapSet::Permitted, permitted, "permitted"),
    ];
    for (set, caps, name) in sets {
        caps::set(None, set, caps).map_err(|_| SysError { call: format!("capset({name})"), errno: Errno::last() })?;
    }
    Ok(())
}

/// Exactly these in the ambient set.
pub fn raise_ambient(caps: &[Capability]) -> SysResult<()> {
    let failed = |call: String| SysError { call, errno: Errno::last() };
    caps::clear(None, CapSet::Ambient).map_err(|_| failed("prctl(PR_CAP_AMBIENT_CLEAR_ALL)".into()))?;
    for cap in caps {
        caps::raise(None, CapSet::Ambient, *cap).map_err(|_| failed(format!("prctl(PR_CAP_AMBIENT_RAISE, {cap})")))?;
    }
    Ok(())
}

pub fn set_groups(gids: &[u32]) -> SysResult<()> {
    let groups: Vec<Gid> = gids.iter().copied().map(Gid::from_raw).collect();
    named(nix::unistd::setgroups(&groups), || format!("setgroups({gids:?})"))
}

/// Real, effective and saved.
pub fn set_gid(gid: u32) -> SysResult<()> {
    let gid = Gid::from_raw(gid);
    named(nix::unistd::setresgid(gid, gid, gid), || format!("setresgid({gid})"))
}

/// Real, effective and saved.
pub fn set_uid(uid: u32) -> SysResult<()> {
    let uid = Uid::from_raw(uid);
    named(nix::unistd::setresuid(uid, uid, uid), || format!("setresuid({uid})"))
}

/// As `uid` and `gid` to file systems in this thread, and with all that we may, which setfsuid(2) takes a part of.
pub fn as_file_owner<T>(uid: u32, gid: u32, deed: impl FnOnce() -> T) -> SysResult<T> {
    let ours = caps::read(None, CapSet::Effective)
        .map_err(|_| SysError { call: "capget(effective)".into(), errno: Errno::last() })?;
    let be = |uid: u32, gid: u32| {
        // SAFETY: both take a number, and give the last one whether they succeed or not.
        unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
        caps::set(None, CapSet::Effective, &ours)
            .map_err(|_| SysError { call: "capset(effective)".into(), errno: Errno::last() })
    };
    let there = be(uid, gid).map(|()| deed());
    be(nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())?;
    there
}

pub fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// Our own nice value.
pub fn nice() -> i32 {
    // SAFETY: takes two numbers. -1 is a value too; it is no error for our own process.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Of a child that was not reaped yet; 0 is ourselves.
pub fn set_nice(of: Pid, value: i32) -> SysResult<()> {
    // SAFETY: takes three numbers.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, of.0 as libc::id_t, value) };
    named(Errno::result(done), || format!("setpriority({value})")).map(drop)
}

/// An anonymous session keyring instead of the inherited one (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
pub fn new_session_keyring() -> SysResult<()> {
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name is allowed and means an anonymous keyring.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    named_raw(done, || "keyctl(KEYCTL_JOIN_SESSION_KEYRING)".into()).map(drop)
}

/// Every signal to its default, and none blocked: Rust's runtime ignores SIGPIPE, and our monitor blocks what it waits
/// for; exec hands both on (signal(7)). By the raw call, for C libraries keep a few realtime signals from us and may
/// leave them ignored.
pub fn reset_signals() -> SysResult<()> {
    const LAST: libc::c_int = 64; // _NSIG of both architectures
    const SET_SIZE: usize = 8;
    // struct kernel_sigaction: handler, flags, restorer, mask; zero is SIG_DFL without flags
    let default = [0u64; 4];
    for signal in (1..=LAST).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
        let old: *mut u64 = std::ptr::null_mut();
        // SAFETY: the kernel reads one kernel_sigaction, which lives until the call returns; the default disposition
        // runs no code of ours.
        let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SET_SIZE) };
        named_raw(done, || format!("rt_sigaction({signal}, SIG_DFL)"))?;
    }
    let none = SigSet::empty();
    named(nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&none), None), || "sigprocmask(none)".into())
}

/// CLOSE_RANGE_CLOEXEC (5.11): marks instead of closing, for our own descriptors are needed until exec.
pub fn close_on_exec(from: u32) -> SysResult<()> {
    // SAFETY: marks descriptors, closes none.
    let done = unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match named_raw(done, || format!("close_range({from}, CLOSE_RANGE_CLOEXEC)")) {
        // EINVAL: 5.9 and 5.10 have the call without the flag
        Err(e) if e.errno == Errno::ENOSYS || e.errno == Errno::EINVAL => close_on_exec_each(from),
        done => done.map(drop),
    }
}

/// One by one, up to the limit below which every descriptor has its number.
fn close_on_exec_each(from: u32) -> SysResult<()> {
    let limits = named(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE), || {
        "getrlimit(RLIMIT_NOFILE)".into()
    })?;
    for fd in from..u32::try_from(limits.1).unwrap_or(1 << 20).min(1 << 20) {
        // SAFETY: sets a flag of a descriptor; one that is not open is EBADF, which is fine.
        unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
