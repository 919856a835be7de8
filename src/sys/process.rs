//! Processes: clone3, pidfds, waiting, exec, namespaces. Identity is never a bare pid.

use super::{fs, named, named_raw};
use crate::error::{Errno, Error, Result as AnyResult, SysError, SysResult};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

/// A process id as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pid(pub i32);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// For a step that is done to init by another process.
pub fn known(init: Option<Pid>) -> AnyResult<Pid> {
    init.ok_or_else(|| Error::internal("a step that needs init before there is one"))
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Side {
    Parent { child: Pid, pidfd: OwnedFd },
    Child,
}

/// include/uapi/linux/sched.h; libc has it for glibc alone.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// clone3(2) without CLONE_VM: the child goes on as a copy of this process. `namespaces` are CLONE_NEW* flags;
/// `cgroup` is a directory of cgroup v2 in which the child is born (CLONE_INTO_CGROUP, Linux 5.7).
pub fn clone3(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> SysResult<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is a plain C structure for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: in a process with several threads the child would inherit locks that nobody releases (malloc's among
    // them). Callers are single-threaded by design: threads exist only in pull, unpack and ps, and are joined there.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match named_raw(pid, || format!("clone3({namespaces:#x})"))? {
        0 => Ok(Side::Child),
        // SAFETY: the kernel has just put a new descriptor there that nobody else owns.
        pid => Ok(Side::Parent { child: Pid(pid as i32), pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    Parent(Pid),
    Child,
}

/// fork(2): for a process inside a container, where a filter answers clone3 with ENOSYS, for it cannot look at the flags.
pub fn fork() -> SysResult<Forked> {
    // SAFETY: as for clone3: the caller has no other thread, whose locks the child would inherit.
    match named(unsafe { nix::unistd::fork() }, || "fork()".into())? {
        nix::unistd::ForkResult::Parent { child } => Ok(Forked::Parent(Pid(child.as_raw()))),
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
    }
}

/// Nobody may look into this process or take it over, whatever they may do to others (PR_SET_DUMPABLE, prctl(2)): neither
/// it, nor a copy of it that has entered a container, until exec (CVE-2016-9962).
pub fn be_closed() -> SysResult<()> {
    named(nix::sys::prctl::set_dumpable(false), || "prctl(PR_SET_DUMPABLE, 0)".into())
}

/// Orphans of our children's become ours (PR_SET_CHILD_SUBREAPER, prctl(2)).
pub fn be_subreaper() -> SysResult<()> {
    named(nix::sys::prctl::set_child_subreaper(true), || "prctl(PR_SET_CHILD_SUBREAPER)".into())
}

/// The caller gets a process group of its own.
pub fn lead_group() -> SysResult<()> {
    let own = nix::unistd::Pid::from_raw(0);
    named(nix::unistd::setpgid(own, own), || "setpgid(0, 0)".into())
}

/// Signals a child that was not reaped yet, so that the pid is its own. One that has ended hears nothing of it.
pub fn signal_child(child: Pid, signal: i32) -> SysResult<()> {
    // SAFETY: kill takes no pointer.
    named_raw(unsafe { libc::kill(child.0, signal) }.into(), || format!("kill({child}, {signal})")).map(drop)
}

/// Reaps one child that has ended, whichever; `None` where none has.
pub fn reap() -> SysResult<Option<(Pid, Exit)>> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Ok(Some((Pid(pid.as_raw()), Exit::Code(code as u8)))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Some((Pid(pid.as_raw()), Exit::Signal(signal as i32))));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return named(Err(errno), || "waitpid(-1)".into()),
        }
    }
}

/// Who a process is, for as long as this boot lasts: the kernel may give its pid to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: Pid,
    /// Field 22 of /proc/PID/stat: clock ticks after boot.
    pub start_time: u64,
    pub boot_id: String,
}

impl Identity {
    pub fn of(pid: Pid) -> SysResult<Identity> {
        Ok(Identity { pid, start_time: start_time(pid)?, boot_id: boot_id()? })
    }

    pub fn of_self() -> SysResult<Identity> {
        Identity::of(Pid(std::process::id() as i32))
    }

    /// Whether exactly this process still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        let stat = fs::read_text(Path::new(&format!("/proc/{}/stat", self.pid))).ok();
        let Some((state, start)) = stat.as_deref().and_then(parse_stat) else { return false };
        start == self.start_time && !matches!(state, 'Z' | 'X') && boot_id().is_ok_and(|id| id == self.boot_id)
    }

    /// A pidfd of exactly this process; ESRCH where it is gone or the pid was given to another one.
    pub fn open(&self) -> SysResult<OwnedFd> {
        let pidfd = pidfd_open(self.pid)?;
        // looked at after the pidfd is held, so that the pid cannot change hands between
        if !self.is_alive() {
            return named(Err(Errno::ESRCH), || format!("pidfd_open({})", self.pid));
        }
        Ok(pidfd)
    }
}

fn start_time(pid: Pid) -> SysResult<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_text(Path::new(&path))?;
    parse_stat(&text).map(|(_, start)| start).ok_or(SysError { call: format!("read({path:?})"), errno: Errno::EINVAL })
}

/// State letter and start time of /proc/PID/stat; the command in brackets may hold blanks and brackets (proc(5)).
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Identifies this boot (random(4)).
pub fn boot_id() -> SysResult<String> {
    static THIS: OnceLock<String> = OnceLock::new();
    if let Some(known) = THIS.get() {
        return Ok(known.clone());
    }
    let read = fs::read_text(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(THIS.get_or_init(|| read.trim().to_owned()).clone())
}

pub fn pidfd_open(pid: Pid) -> SysResult<OwnedFd> {
    // SAFETY: no pointers; a successful call gives a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) };
    // SAFETY: see above, nobody else owns it.
    named_raw(fd, || format!("pidfd_open({pid})")).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Signals the process behind a pidfd: never another one that got its pid. ESRCH where it is gone.
pub fn send_signal(pidfd: &impl AsFd, signal: i32) -> SysResult<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the siginfo pointer is null, which the call allows.
    let done =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0) };
    named_raw(done, || format!("pidfd_send_signal({signal})")).map(drop)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(u8),
    Signal(i32),
}

impl Exit {
    /// The shell's form: the code, or 128 and the signal.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }
}

/// Waits for a child to end and reaps it.
pub fn wait(pidfd: &impl AsFd) -> SysResult<Exit> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(code as u8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return named(Err(errno), || "waitid(P_PIDFD)".into()),
        }
    }
}

/// include/uapi/linux/pidfd.h, struct pidfd_info, PIDFD_INFO_SIZE_VER0: 64 bytes.
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How a process ended that is not our child, once its parent has reaped it (Linux 6.15); `None` where the kernel does
/// not tell, or its parent takes longer than `patience`.
pub fn exit_of_other(pidfd: &OwnedFd, patience: std::time::Duration) -> Option<Exit> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // the hang-up comes when it is reaped (fs/pidfs.c, pidfd_poll)
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::empty())], timeout);
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, cgroup: 0, ids: [0; 11], exit_code: 0 };
    // SAFETY: the request's number holds the size of the structure, which the kernel reads and fills.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(match info.exit_code & 0x7f {
        0 => Exit::Code((info.exit_code >> 8) as u8),
        signal => Exit::Signal(signal),
    })
}

/// Ends this process at once: no destructors, no flushing, for a clone shares both with its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

fn c_strings(words: &[String]) -> SysResult<Vec<CString>> {
    let bad = |word: &String| SysError { call: format!("execve({word:?})"), errno: Errno::EINVAL };
    words.iter().map(|word| CString::new(word.as_str()).map_err(|_| bad(word))).collect()
}

/// execve(2): returns only on failure.
pub fn exec(program: &Path, args: &[String], env: &[String]) -> SysResult<Infallible> {
    use std::os::unix::ffi::OsStrExt as _;
    let file = CString::new(program.as_os_str().as_bytes())
        .map_err(|_| SysError { call: format!("execve({program:?})"), errno: Errno::EINVAL })?;
    named(nix::unistd::execve(&file, &c_strings(args)?, &c_strings(env)?), || format!("execve({program:?})"))
}

/// Executes this very program again from a file that nobody can write through: a container that reaches
/// /proc/PID/exe of ours would otherwise overwrite the host's binary (CVE-2019-5736). A detached, read-only
/// clone of the binary's mount copies nothing (open_tree(2) 5.2, mount_setattr(2) 5.12); where that is not to be
/// had, a sealed memfd copy. Afterwards /proc/self/exe reads `/…` and is not to be used.
pub fn exec_self_protected(args: &[String], env: &[String]) -> SysResult<Infallible> {
    let exe = match super::mount::open_tree(Path::new("/proc/self/exe"), false) {
        Ok(tree) => super::mount::set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, false).map(|()| tree),
        Err(e) => Err(e),
    };
    let exe = match exe {
        Ok(tree) => tree,
        Err(_) => sealed_copy(Path::new("/proc/self/exe"))?,
    };
    let (args, env) = (c_strings(args)?, c_strings(env)?);
    named(nix::unistd::execveat(&exe, c"", &args, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH), || {
        "execveat(read-only clone of /proc/self/exe)".into()
    })
}

/// A memfd with a file's content that can never be changed again.
fn sealed_copy(path: &Path) -> SysResult<OwnedFd> {
    let memfd = super::memory_file(c"minirun", &fs::read(path)?)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers; the descriptor is open.
    let done = unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    named_raw(done.into(), || "fcntl(F_ADD_SEALS)".into())?;
    Ok(memfd)
}

pub fn setsid() -> SysResult<()> {
    named(nix::unistd::setsid(), || "setsid()".into()).map(drop)
}

/// Moves this process into the namespaces in `kinds` (CLONE_NEW* flags) of the process behind a pidfd (Linux 5.8)
/// or into the one namespace behind a /proc/PID/ns file.
pub fn setns(fd: &impl AsFd, kinds: libc::c_int) -> SysResult<()> {
    let flags = nix::sched::CloneFlags::from_bits_truncate(kinds);
    named(nix::sched::setns(fd.as_fd(), flags), || format!("setns({flags:?})"))
}

pub fn unshare(kinds: libc::c_int) -> SysResult<()> {
    let flags = nix::sched::CloneFlags::from_bits_truncate(kinds);
    named(nix::sched::unshare(flags), || format!("unshare({flags:?})"))
}

pub fn set_hostname(name: &str) -> SysResult<()> {
    named(nix::unistd::sethostname(name), || format!("sethostname({name:?})"))
}

pub fn set_domainname(name: &str) -> SysResult<()> {
    // SAFETY: the pointer and the length describe `name`, which the kernel only reads.
    let done = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    named_raw(done.into(), || format!("setdomainname({name:?})")).map(drop)
}

pub fn chdir(path: &Path) -> SysResult<()> {
    named(nix::unistd::chdir(path), || format!("chdir({path:?})"))
}

/// The working directory as the kernel names it; `(unreachable)` in front means that it lies outside of the root
/// (getcwd(2); CVE-2024-21626).
pub fn getcwd() -> SysResult<std::path::PathBuf> {
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most the given length, which is the buffer's.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let length = named_raw(length, || "getcwd()".into())? as usize;
    buffer.truncate(length.saturating_sub(1));
    Ok(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(buffer).into())
}

/// The name in `ps` and /proc/PID/comm; at most 15 bytes are kept.
pub fn set_name(name: &CStr) -> SysResult<()> {
    named(nix::sys::prctl::set_name(name), || format!("prctl(PR_SET_NAME, {name:?})"))
}

/// Blocks every signal in this process, so that none is lost between a clone and the loop that reads them.
pub fn block_signals() -> SysResult<()> {
    named(nix::sys::signal::SigSet::all().thread_block(), || "sigprocmask(SIG_BLOCK, all)".into())
}

/// `SIGTERM`, `term`, `15` to a signal's number.
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_confuse_stat() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(parse_stat(stat), Some(('S', 4242)));
    }

    #[test]
    fn a_process_is_itself_and_no_other() {
        let me = Identity::of_self().unwrap();
        assert!(me.is_alive() && me.open().is_ok());
        for other in [
            Identity { start_time: me.start_time + 1, ..me.clone() },
            Identity { boot_id: "another".into(), ..me.clone() },
        ] {
            assert!(!other.is_alive());
            assert_eq!(other.open().unwrap_err().errno, Errno::ESRCH);
        }
    }

    #[test]
    fn signals_go_by_name_and_number() {
        for (text, want) in [("TERM", Some(15)), ("sigkill", Some(9)), ("9", Some(9)), ("65", None), ("NOPE", None)] {
            assert_eq!(parse_signal(text), want, "{text}");
        }
    }
}
