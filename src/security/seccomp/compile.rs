//! From a resolved profile to a program: the architecture, then a tree over the numbers, then conditions. Pure.
//!
//! * Another architecture than ours, and x32 (numbers from 2^30 on), get ENOSYS.
//! * A number that we have no name for gets ENOSYS, unless the profile allows by default: a program that tries a
//!   newer call than the profile knows falls back to the older one, where EPERM would make it fail (runc's reason).
//! * A rule without conditions wins over those with; a rule with the default action says nothing (libseccomp, runc).

use super::args::{self, ArgRule};
use super::names::Arch;
use super::tree::{JEQ, LD_ABS, Range, insn, merge, ret, tree};
use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use std::collections::{BTreeMap, HashMap};

const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32; // SECCOMP_RET_ERRNO
/// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;

#[derive(Debug, Default)]
struct Verdict {
    always: Option<u32>,
    rules: Vec<ArgRule>,
}

/// The program as `struct sock_filter` words.
pub(super) fn compile(profile: &LinuxSeccomp, arch: Arch) -> Result<Vec<u64>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let numbers = arch.numbers();
    let verdicts = verdicts(profile, &numbers, default)?;
    let unknown = match profile.default_action() {
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog => default,
        _ => ENOSYS,
    };
    let known: BTreeMap<u32, Vec<u64>> =
        numbers.into_values().map(|number| (number, code(verdicts.get(&number), default))).collect();
    let end = known.last_key_value().map_or(0, |(number, _)| number + 1);
    let range = |from| Range { from, code: known.get(&from).cloned().unwrap_or_else(|| vec![ret(unknown)]) };
    let x32 = Range { from: 1 << 30, code: vec![ret(ENOSYS)] };
    let ranges = merge((0..=end).map(range).chain([x32]));
    let mut program =
        vec![insn(LD_ABS, 0, 0, ARCH), insn(JEQ, 1, 0, arch.audit()), ret(ENOSYS), insn(LD_ABS, 0, 0, NR)];
    program.extend(tree(&ranges));
    /// BPF_MAXINSNS of linux/bpf_common.h.
    const MOST: usize = 4096;
    if program.len() > MOST {
        return Err(Error::user(format!("the seccomp profile makes {} instructions", program.len()))
            .hint(format!("the kernel takes {MOST}: use fewer conditions")));
    }
    Ok(program)
}

/// What the profile says of each system call of this architecture; names of others are passed over, as in runc.
fn verdicts(profile: &LinuxSeccomp, numbers: &HashMap<&str, u32>, default: u32) -> Result<HashMap<u32, Verdict>> {
    let mut verdicts: HashMap<u32, Verdict> = HashMap::new();
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action == default {
            continue;
        }
        for name in rule.names() {
            let Some(number) = numbers.get(name.as_str()) else { continue };
            let verdict = verdicts.entry(*number).or_default();
            match rule.args().as_deref().unwrap_or_default() {
                [] => verdict.always = Some(stricter(verdict.always, action)),
                args => verdict.rules.extend(args::rules(name, args, action)?),
            }
        }
    }
    Ok(verdicts)
}

/// The kernel's own order of actions: as signed numbers, the smallest wins (seccomp(2)).
fn stricter(one: Option<u32>, other: u32) -> u32 {
    one.map_or(other, |one| (one as i32).min(other as i32) as u32)
}

fn code(verdict: Option<&Verdict>, default: u32) -> Vec<u64> {
    match verdict {
        None => vec![ret(default)],
        Some(Verdict { always: Some(action), rules: _ }) => vec![ret(*action)],
        Some(Verdict { always: None, rules }) => args::code(rules, default),
    }
}

/// SECCOMP_RET_*, with its data.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::user("SCMP_ACT_NOTIFY needs a listener, which minirun does not have yet")
            .hint("use SCMP_ACT_ERRNO in the seccomp profile"));
    }
    if errno.is_some_and(|errno| errno > 4095) {
        return Err(Error::user(format!("invalid errno {} in a seccomp profile", errno.unwrap_or(0))));
    }
    Ok(action.as_u32(errno))
}
