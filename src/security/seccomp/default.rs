//! The default filter: docker's profile compiled for the default capabilities, so that a start compiles nothing.
//! The programs stand in `program.rs`, which a test makes from `profile.json` and compares.

use super::Arch;
use super::program;
use crate::security::capabilities::{Caps, DEFAULT};

pub(super) const PROFILE: &str = include_str!("profile.json");

/// The capabilities that the profile asks for: DAC_READ_SEARCH, SYS_MODULE, SYS_RAWIO, SYS_CHROOT, SYS_PTRACE, SYS_PACCT,
/// SYS_ADMIN, SYS_BOOT, SYS_NICE, SYS_TIME, SYS_TTY_CONFIG, SYSLOG, PERFMON, BPF.
pub(super) const ASKED_FOR: Caps = Caps(0x00c4_06ff_0004);

/// Whether the checked-in program is the profile's for this bounding set. No kernel that we run on is older than any
/// minKernel in the profile.
pub(super) fn fits(bounding: Caps) -> bool {
    bounding.and(ASKED_FOR) == DEFAULT.and(ASKED_FOR)
}

pub(super) fn program(arch: Arch) -> &'static [u64] {
    match arch {
        Arch::X86_64 => &program::X86_64,
        Arch::Aarch64 => &program::AARCH64,
    }
}
