//! System call filters: docker's profile, profiles of OCI bundles, and the compiler from either to BPF. Pure;
//! `sys::seccomp` loads the result.
//!
//! How a choice travels: a bundle's `linux.seccomp` is [`SeccompChoice::Profile`]; `run` takes
//! [`SeccompChoice::Default`], which costs nothing, for its program is checked in ([`default`]), and writes the whole
//! object into a spec only where somebody wants to read it ([`default_profile_spec`]).

mod args;
mod compile;
mod default;
mod names;
mod profile;
mod program;
mod tree;

use super::capabilities::Caps;
use super::step::Step;
use crate::error::Result;
use oci_spec::runtime::{Linux, LinuxSeccomp, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

pub use names::Arch;

/// Which filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// Docker's profile, resolved for the container's capabilities and this kernel.
    Default,
    /// None at all.
    Unconfined,
    /// The `linux.seccomp` of an OCI spec.
    Profile(Box<LinuxSeccomp>),
    /// The text of a profile file, in docker's format or OCI's.
    DockerProfile(String),
}

impl SeccompChoice {
    /// What a bundle asks for: no `linux.seccomp` is no filter (config-linux.md).
    pub fn of_spec(linux: Option<&Linux>) -> SeccompChoice {
        match linux.and_then(|linux| linux.seccomp().as_ref()) {
            Some(profile) => SeccompChoice::Profile(Box::new(profile.clone())),
            None => SeccompChoice::Unconfined,
        }
    }
}

/// A program to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// The checked-in one: docker's profile without any capability that it asks for but SYS_CHROOT.
    Default,
    /// `struct sock_filter`s as 64-bit words.
    Program(Vec<u64>),
}

impl Filter {
    pub fn program(&self) -> &[u64] {
        match self {
            Filter::Default => default::program(Arch::NATIVE),
            Filter::Program(words) => words,
        }
    }
    pub fn name(&self) -> &'static str {
        match self {
            Filter::Default => "the default system call filter",
            Filter::Program(_) => "a system call filter of its own",
        }
    }
}

/// SECCOMP_FILTER_FLAG_* (include/uapi/linux/seccomp.h).
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// The step that loads what was chosen, for a container with this bounding set.
pub(super) fn step(choice: &SeccompChoice, bounding: Caps, kernel: (u32, u32)) -> Result<Option<Step>> {
    let profile = match choice {
        SeccompChoice::Unconfined => return Ok(None),
        SeccompChoice::Default if default::fits(bounding) => {
            return Ok(Some(Step::Seccomp { filter: Filter::Default, flags: FLAG_SPEC_ALLOW }));
        }
        SeccompChoice::Default => default_profile_spec(Arch::NATIVE, bounding, kernel)?,
        SeccompChoice::DockerProfile(text) => profile::resolve(text, Arch::NATIVE, bounding, kernel)?,
        SeccompChoice::Profile(profile) => (**profile).clone(),
    };
    let filter = Filter::Program(compile::compile(&profile, Arch::NATIVE)?);
    Ok(Some(Step::Seccomp { filter, flags: flags(&profile) }))
}

/// Docker's default profile as the `linux.seccomp` of a spec.
pub fn default_profile_spec(arch: Arch, bounding: Caps, kernel: (u32, u32)) -> Result<LinuxSeccomp> {
    profile::resolve(default::PROFILE, arch, bounding, kernel)
}

/// Nothing said is SPEC_ALLOW, as in runc: without it each switch to the container's processes would turn a
/// processor's speculation off. TSYNC means nothing for the one thread that we are.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(flags) = profile.flags() else { return FLAG_SPEC_ALLOW };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync
            | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

#[cfg(test)]
mod tests;
