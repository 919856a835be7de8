//! The kernel, as hello needs it: a handful of system calls made directly, for this program has no C library.
//! All that is unsafe stands here; `hello.rs` says what is done with it.

use core::arch::{asm, global_asm};
use core::ffi::CStr;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Numbers of the system calls (asm/unistd_64.h, asm-generic/unistd.h).
#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const SOCKET: usize = 41;
    pub const UNAME: usize = 63;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const STATX: usize = 332;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const GETDENTS64: usize = 61;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const UNAME: usize = 160;
    pub const GETPID: usize = 172;
    pub const SOCKET: usize = 198;
    pub const STATX: usize = 291;
}

/// One system call: the number and five arguments in registers, a negative errno or the result back (syscall(2)).
fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the callers below pass the kernel pointers to memory of theirs that is as long as they say.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => result,
             in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, out("rcx") _, out("r11") _);
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result,
             in("x1") b, in("x2") c, in("x3") d, in("x4") e);
    }
    result
}

// Where the kernel enters the program: the stack holds argc, then argv (System V ABI, "process initialization").
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call enter");
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl enter");

/// Calls `main` with the first argument, and ends with what it gives.
#[unsafe(no_mangle)]
extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: the kernel put argc and argv there, and a null pointer behind the last argument.
    let first = unsafe {
        let argv = stack.add(1) as *const *const i8;
        if *stack > 1 { Some(CStr::from_ptr((*argv.add(1)).cast())) } else { None }
    };
    exit(crate::main(first))
}

pub fn exit(status: u8) -> ! {
    loop {
        call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0]);
    }
}

/// Waits for SIGTERM or SIGINT. Process 1 gets no signal that it does not ask for (pid_namespaces(7)), so both are
/// blocked and then taken (sigwaitinfo(2)).
pub fn wait_for_the_end() {
    const SIG_BLOCK: usize = 0;
    let signals = 1_u64 << (15 - 1) | 1 << (2 - 1);
    let (set, length) = (&raw const signals as usize, size_of_val(&signals));
    call(number::RT_SIGPROCMASK, [SIG_BLOCK, set, 0, length, 0]);
    while call(number::RT_SIGTIMEDWAIT, [set, 0, 0, length, 0]) < 0 {} // EINTR: it was stopped, and goes on
}

pub fn pid() -> isize {
    call(number::GETPID, [0; 5])
}

pub fn write(descriptor: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match call(number::WRITE, [descriptor, bytes.as_ptr() as usize, bytes.len(), 0, 0]) {
            written if written > 0 => bytes = &bytes[written as usize..],
            _ => return, // nobody reads any more: nobody to tell
        }
    }
}

/// An open file, directory or socket; closed when it goes.
pub struct File(usize);

impl Drop for File {
    fn drop(&mut self) {
        call(number::CLOSE, [self.0, 0, 0, 0, 0]);
    }
}

fn opened(result: isize) -> Option<File> {
    usize::try_from(result).ok().map(File)
}

/// "The current directory" in place of an open one; an absolute path does not look at it.
const AT_FDCWD: usize = -100_isize as usize;
const AT_SYMLINK_NOFOLLOW: usize = 0x100;
const O_CLOEXEC: usize = 0o2000000;
#[cfg(target_arch = "x86_64")]
const O_DIRECTORY_NOFOLLOW: usize = 0o200000 | 0o400000;
#[cfg(target_arch = "aarch64")]
const O_DIRECTORY_NOFOLLOW: usize = 0o40000 | 0o100000;

/// The directory `name` in `parent`, or at an absolute path; never through a symbolic link.
pub fn open_directory(parent: Option<&File>, name: &CStr) -> Option<File> {
    let parent = parent.map_or(AT_FDCWD, |file| file.0);
    opened(call(number::OPENAT, [parent, name.as_ptr() as usize, O_CLOEXEC | O_DIRECTORY_NOFOLLOW, 0, 0]))
}

/// The beginning of a file as text, as much as the buffer takes; `None` where there is no such file.
pub fn read<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a str> {
    let file = opened(call(number::OPENAT, [AT_FDCWD, path.as_ptr() as usize, O_CLOEXEC, 0, 0]))?;
    let mut length = 0;
    while length < buffer.len() {
        let rest = &mut buffer[length..];
        match call(number::READ, [file.0, rest.as_mut_ptr() as usize, rest.len(), 0, 0]) {
            count if count > 0 => length += count as usize,
            _ => break,
        }
    }
    core::str::from_utf8(&buffer[..length]).ok()
}

/// Calls `with` for each name in the directory but `.` and `..` (getdents64(2)).
pub fn each_entry(directory: &File, mut with: impl FnMut(&CStr)) {
    const NAME: usize = 19; // struct linux_dirent64: inode, offset, length at 16, type, then the name
    let mut records = [0_u8; 2048];
    while let length @ 1.. = call(number::GETDENTS64, [directory.0, records.as_mut_ptr() as usize, records.len(), 0, 0])
    {
        let mut at = 0;
        while at < length as usize {
            let size = u16::from_ne_bytes([records[at + 16], records[at + 17]]) as usize;
            match CStr::from_bytes_until_nul(&records[at + NAME..at + size]) {
                Ok(name) if name != c"." && name != c".." => with(name),
                _ => {}
            }
            at += size;
        }
    }
}

/// What a path is.
pub struct Status {
    pub directory: bool,
    /// Something is mounted right here.
    pub mount: bool,
}

/// What `name` in `directory`, or an absolute path, is; links are not followed (statx(2)).
pub fn status(directory: Option<&File>, name: &CStr) -> Option<Status> {
    const ATTRIBUTES: usize = 1; // struct statx in words of 64 bits: attributes at 8, mode at 28
    const MODE: usize = 3;
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    let mut statx = [0_u64; 32];
    let directory = directory.map_or(AT_FDCWD, |file| file.0);
    let arguments = [directory, name.as_ptr() as usize, AT_SYMLINK_NOFOLLOW, 1, statx.as_mut_ptr() as usize];
    (call(number::STATX, arguments) == 0).then(|| Status {
        directory: (statx[MODE] >> 32) & 0o170000 == 0o040000,
        mount: statx[ATTRIBUTES] & STATX_ATTR_MOUNT_ROOT != 0,
    })
}

/// The kernel's own words about itself: struct utsname, six fields of 65 bytes (uname(2)).
pub struct Uname([u8; 6 * 65]);

pub fn uname() -> Uname {
    let mut uname = Uname([0; 6 * 65]);
    call(number::UNAME, [uname.0.as_mut_ptr() as usize, 0, 0, 0, 0]);
    uname
}

impl Uname {
    fn field(&self, index: usize) -> &str {
        text(&self.0[index * 65..][..65])
    }
    pub fn system(&self) -> &str {
        self.field(0)
    }
    pub fn hostname(&self) -> &str {
        self.field(1)
    }
    pub fn release(&self) -> &str {
        self.field(2)
    }
    pub fn machine(&self) -> &str {
        self.field(4)
    }
}

/// Bytes up to the first NUL, as text.
fn text(bytes: &[u8]) -> &str {
    CStr::from_bytes_until_nul(bytes).ok().and_then(|text| text.to_str().ok()).unwrap_or("?")
}

/// Calls `with` for each interface's name, IPv4 address and prefix length (netdevice(7): SIOCGIFCONF, SIOCGIFNETMASK).
pub fn each_ipv4(mut with: impl FnMut(&str, Ipv4Addr, u32)) {
    const AF_INET: usize = 2;
    const SOCK_DGRAM: usize = 2;
    const SIOCGIFCONF: usize = 0x8912;
    const SIOCGIFNETMASK: usize = 0x891b;
    const IFREQ: usize = 40; // struct ifreq: 16 bytes of name, then a sockaddr whose address is at 4
    let address = |ifreq: &[u8]| u32::from_be_bytes([ifreq[20], ifreq[21], ifreq[22], ifreq[23]]);

    let Some(socket) = opened(call(number::SOCKET, [AF_INET, SOCK_DGRAM, 0, 0, 0])) else { return };
    let mut list = [0_u8; 64 * IFREQ];
    let mut ifconf = [list.len(), list.as_mut_ptr() as usize];
    if call(number::IOCTL, [socket.0, SIOCGIFCONF, ifconf.as_mut_ptr() as usize, 0, 0]) != 0 {
        return;
    }
    for ifreq in list[..ifconf[0] & 0xffff_ffff].chunks_exact(IFREQ) {
        let mut mask = [0_u8; IFREQ];
        mask.copy_from_slice(ifreq);
        call(number::IOCTL, [socket.0, SIOCGIFNETMASK, mask.as_mut_ptr() as usize, 0, 0]);
        with(text(&ifreq[..16]), Ipv4Addr::from_bits(address(ifreq)), address(&mask).count_ones());
    }
}

/// Calls `with` for each interface's name, IPv6 address and prefix length, as /proc/net/if_inet6 has them:
/// `00000000000000000000000000000001 01 80 10 80 lo` (net/ipv6/addrconf.c, if6_seq_show).
pub fn each_ipv6(mut with: impl FnMut(&str, Ipv6Addr, u32)) {
    let mut buffer = [0; 4096];
    for line in read(c"/proc/net/if_inet6", &mut buffer).unwrap_or("").lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(prefix), Some(name)) = (words.next(), words.nth(1), words.nth(2)) else { continue };
        let (Ok(address), Ok(prefix)) = (u128::from_str_radix(address, 16), u32::from_str_radix(prefix, 16)) else {
            continue;
        };
        with(name, Ipv6Addr::from_bits(address), prefix);
    }
}

/// A fault of ours ends the program; there is nothing to unwind.
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    write(2, b"hello: internal error\n");
    exit(134)
}

/// Named by the compiled `core` library for unwinding; with panic=abort nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What the compiler calls for copies and comparisons, and a C library would otherwise bring.
mod memory {
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        for i in 0..length {
            // SAFETY: the caller's promise: both are `length` long.
            unsafe { *to.add(i) = *from.add(i) }
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
        for i in 0..length {
            // SAFETY: the caller's promise: it is `length` long.
            unsafe { *to.add(i) = byte as u8 }
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        for i in 0..length {
            // SAFETY: the caller's promise: both are `length` long.
            let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
            if x != y {
                return x as i32 - y as i32;
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        // SAFETY: the same promise.
        unsafe { memcmp(a, b, length) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut length = 0;
        // SAFETY: the caller's promise: a NUL ends it.
        while unsafe { *text.add(length) } != 0 {
            length += 1;
        }
        length
    }
}
