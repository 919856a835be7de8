//! hello: everything there is in the image `hello`. One file, no library, no shell, no distribution;
//! what it needs is a kernel, and that is the host's. It prints what a process inside a container sees.
//!
//! `hello`           pid, hostname, kernel, addresses, files, shell
//! `hello --kernel`  what tells one kernel from another: compare it with the host's
//! `hello --wait`    nothing: it waits until it is told to end, so that its container can be looked at
//! anything else     one line on stderr and exit status 2
#![no_std]
#![no_main]
#![no_builtins] // or the loops of `kernel::memory` would be compiled into calls of themselves

mod kernel;

use core::ffi::CStr;
use core::fmt::{self, Write as _};
use kernel::File;

fn main(argument: Option<&CStr>) -> u8 {
    let argument = argument.map(|argument| argument.to_str().unwrap_or("?"));
    if argument == Some("--wait") {
        kernel::wait_for_the_end();
        return 0;
    }
    let (descriptor, print, status): (_, fn(&mut Out, &str) -> fmt::Result, _) = match argument {
        None => (1, what_it_sees, 0),
        Some("--kernel") => (1, which_kernel, 0),
        Some(_) => (2, unknown_argument, 2),
    };
    let mut out = Out { descriptor, bytes: [0; 4096], length: 0 };
    let _ = print(&mut out, argument.unwrap_or(""));
    out.flush();
    status
}

fn what_it_sees(out: &mut Out, _: &str) -> fmt::Result {
    let uname = kernel::uname();
    let files = kernel::open_directory(None, c"/").map_or(0, |root| count_files(&root, 0));
    let shell = SHELLS.iter().find(|path| kernel::status(None, path).is_some());

    writeln!(out, "Hello from inside a container.")?;
    writeln!(out)?;
    writeln!(out, "pid        {}", kernel::pid())?;
    writeln!(out, "hostname   {}", uname.hostname())?;
    writeln!(out, "kernel     {} {} {}", uname.system(), uname.release(), uname.machine())?;
    write_addresses(out)?;
    writeln!(out, "files      {files}")?;
    match shell.map(|path| path.to_str().unwrap_or("?")) {
        Some(shell) => writeln!(out, "shell      {shell}"),
        None => writeln!(out, "shell      none"),
    }?;
    if files == 1 && shell.is_none() {
        writeln!(out)?;
        writeln!(out, "This program is the only file here: no distribution, no library, no shell.")?;
        writeln!(out, "The kernel is your host's.")?;
    }
    Ok(())
}

/// One line an address: `addresses  eth0 10.88.0.2/16`.
fn write_addresses(out: &mut Out) -> fmt::Result {
    let mut found = 0;
    let mut line = |name: &str, address: &dyn fmt::Display, prefix: u32| {
        let label = if found == 0 { "addresses" } else { "" };
        found += 1;
        let _ = writeln!(out, "{label:<10} {name} {address}/{prefix}");
    };
    kernel::each_ipv4(|name, address, prefix| line(name, &address, prefix));
    kernel::each_ipv6(|name, address, prefix| line(name, &address, prefix));
    if found == 0 { writeln!(out, "addresses  none") } else { Ok(()) }
}

const SHELLS: [&CStr; 6] = [c"/bin/sh", c"/bin/bash", c"/bin/ash", c"/usr/bin/sh", c"/usr/bin/bash", c"/busybox/sh"];

/// Everything below `directory` that is not a directory. What is mounted there (/proc, /sys, /dev, /etc/hosts, a volume)
/// is not the image's and does not count.
fn count_files(directory: &File, depth: usize) -> usize {
    const DEEPEST: usize = 100; // one open directory and 2 KiB of stack each
    let mut count = 0;
    kernel::each_entry(directory, |name| match kernel::status(Some(directory), name) {
        Some(status) if status.mount => {}
        Some(status) if status.directory && depth < DEEPEST => {
            count += kernel::open_directory(Some(directory), name).map_or(0, |below| count_files(&below, depth + 1));
        }
        Some(status) if status.directory => {}
        _ => count += 1,
    });
    count
}

/// Three lines that are the same in every container and on the host, and differ from machine to machine and boot to boot.
fn which_kernel(out: &mut Out, _: &str) -> fmt::Result {
    let mut buffer = [0; 1024];
    writeln!(out, "uname -r: {}", kernel::uname().release())?;
    writeln!(out, "/proc/version: {}", first_line(c"/proc/version", &mut buffer))?;
    writeln!(out, "boot_id: {}", first_line(c"/proc/sys/kernel/random/boot_id", &mut buffer))
}

fn first_line<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a str {
    kernel::read(path, buffer).and_then(|text| text.lines().next()).unwrap_or("cannot be read")
}

fn unknown_argument(out: &mut Out, argument: &str) -> fmt::Result {
    writeln!(out, "hello: unknown argument {argument:?}; it knows --kernel and --wait, or none")
}

/// Collects text and hands it to the kernel in few writes.
struct Out {
    descriptor: usize,
    bytes: [u8; 4096],
    length: usize,
}

impl Out {
    fn flush(&mut self) {
        kernel::write(self.descriptor, &self.bytes[..self.length]);
        self.length = 0;
    }
}

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}
