//! Architectures, and the numbers of their system calls. The table is a data file beside this one. Pure.

use std::collections::HashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// `name x86_64 aarch64` in each line, `-` where there is none.
const TABLE: &str = include_str!("syscalls.txt");

impl Arch {
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// AUDIT_ARCH_* (include/uapi/linux/audit.h): what seccomp_data.arch holds.
    pub(super) fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Go's name, which docker's profiles use.
    pub(super) fn goarch(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Every system call of this architecture.
    pub(super) fn numbers(self) -> HashMap<&'static str, u32> {
        let column = match self {
            Arch::X86_64 => 1,
            Arch::Aarch64 => 2,
        };
        let row = |line: &'static str| {
            let mut fields = line.split(' ');
            let name = fields.next()?;
            Some((name, fields.nth(column - 1)?.parse().ok()?))
        };
        TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let (x86, arm) = (Arch::X86_64.numbers(), Arch::Aarch64.numbers());
        for (name, on_x86, on_arm) in [
            ("read", Some(0), Some(63)),
            ("openat", Some(257), Some(56)),
            ("newfstatat", Some(262), Some(79)),
            ("open", Some(2), None),
            ("clone3", Some(435), Some(435)),
            ("file_setattr", Some(469), Some(469)),
            ("no_such", None, None),
        ] {
            assert_eq!((x86.get(name).copied(), arm.get(name).copied()), (on_x86, on_arm), "{name}");
        }
    }

    #[test]
    fn each_number_has_one_name() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let mut numbers: Vec<u32> = arch.numbers().into_values().collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count);
        }
    }

    #[test]
    fn the_c_library_agrees() {
        let numbers = Arch::NATIVE.numbers();
        for (name, number) in [
            ("ioctl", libc::SYS_ioctl),
            ("statx", libc::SYS_statx),
            ("openat2", libc::SYS_openat2),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("io_pgetevents", libc::SYS_io_pgetevents),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!(i64::from(numbers[name]), number, "{name}");
        }
    }
}
