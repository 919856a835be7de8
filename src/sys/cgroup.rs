//! What cgroups need beside plain files: the namespace, the BPF device filter, and killing by pidfd.

use super::{named, named_raw};
use crate::error::SysResult;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// The caller's cgroup becomes the root of what it sees (cgroup_namespaces(7)).
pub fn unshare_namespace() -> SysResult<()> {
    named(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP), || "unshare(CLONE_NEWCGROUP)".into())
}

/// A signal to the process of this descriptor (pidfd_open(2)), which cannot be another one meanwhile.
pub fn pidfd_open(pid: i32) -> SysResult<OwnedFd> {
    // SAFETY: takes two integers; the result is a descriptor that nobody else owns.
    let fd = named_raw(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }, || format!("pidfd_open({pid})"))?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn pidfd_kill(pidfd: &OwnedFd) -> SysResult<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo makes the kernel fill in its own (pidfd_send_signal(2)).
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, 0) };
    named_raw(result, || "pidfd_send_signal(SIGKILL)".into()).map(drop)
}

/// Whether our effective user may write the file, mount options included.
pub fn may_write(path: &Path) -> bool {
    use nix::unistd::{AccessFlags, faccessat};
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::W_OK, nix::fcntl::AtFlags::AT_EACCESS).is_ok()
}

pub fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Waits until a kernfs file (cgroup.events) changes after it was last read through this descriptor, or for `wait`.
#[derive(Debug)]
pub struct Events(File);

impl Events {
    pub fn open(path: &Path) -> SysResult<Events> {
        super::named_io(File::open(path), || format!("open({path:?})")).map(Events)
    }
    /// The whole file, from its beginning.
    pub fn read(&mut self) -> SysResult<String> {
        use std::io::{Read as _, Seek as _};
        let mut text = String::new();
        super::named_io(self.0.rewind().and_then(|()| self.0.read_to_string(&mut text)), || {
            "read(cgroup.events)".into()
        })?;
        Ok(text)
    }
    pub fn wait(&self, wait: Duration) -> SysResult<()> {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        match nix::poll::poll(&mut fds, timeout) {
            Err(nix::Error::EINTR) => Ok(()),
            done => named(done, || "poll(cgroup.events)".into()).map(drop),
        }
    }
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h); what follows is zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a device filter (eBPF instructions as 64-bit words) and attaches it to the cgroup; it goes with the cgroup.
pub fn attach_device_filter(dir: &Path, program: &[u64]) -> SysResult<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let cgroup = named(super::fs::open(dir, flags, Mode::empty()), || format!("open({dir:?})"))?;
    let load = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    let call = || format!("bpf(BPF_PROG_LOAD, CGROUP_DEVICE, {} instructions)", program.len());
    // SAFETY: the attribute and the instructions it points to live until the call returns; the kernel copies them,
    // and its verifier, not we, vouches for the program.
    let fd = named_raw(unsafe { bpf(BPF_PROG_LOAD, &load) }, call)?;
    // SAFETY: a new descriptor that nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let attach = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: loaded.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attribute lives until the call returns and holds no pointers.
    named_raw(unsafe { bpf(BPF_PROG_ATTACH, &attach) }, || format!("bpf(BPF_PROG_ATTACH, {dir:?})")).map(drop)
}

/// # Safety
/// Every pointer inside `attr` must be valid for the kernel to read.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> libc::c_long {
    // SAFETY: the size is that of the attribute; the caller vouches for what it points to.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) }
}
