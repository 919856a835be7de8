//! Conditions on arguments as BPF. The kernel cuts an `int` argument to 32 bits, so a filter that compares 64 can be
//! got round by setting the upper half: socket(AF_VSOCK | 1<<32) passes libseccomp's. Pure.

use super::tree::{LD_ABS, Range, insn, merge, ret, tree};
use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Where all conditions hold, the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArgRule {
    conditions: Vec<Condition>,
    action: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Condition {
    index: u8,
    narrow: bool,
    operator: LinuxSeccompOperator,
    value: u64,
    /// MASKED_EQ: `value` is the mask and this the comparison (libseccomp, SCMP_CMP_MASKED_EQ).
    masked: u64,
}

/// Which arguments are 32 bits wide, from the kernel's SYSCALL_DEFINE types: `i` for int, unsigned int, pid_t, uid_t,
/// mode and the like, `l` for long, size_t and pointers. A call that is not here is compared in 64 bits.
/// clone's flags are an unsigned long of which the kernel takes the lower half (kernel/fork.c, lower_32_bits).
const WIDTHS: [(&str, &str); 62] = [
    ("accept4", "illi"),
    ("bpf", "ili"),
    ("chmod", "li"),
    ("clock_adjtime", "il"),
    ("clock_gettime", "il"),
    ("clock_settime", "il"),
    ("clone", "illll"),
    ("dup3", "iii"),
    ("epoll_ctl", "iiil"),
    ("eventfd2", "ii"),
    ("execveat", "illli"),
    ("faccessat", "ili"),
    ("fchmod", "ii"),
    ("fchmodat", "ili"),
    ("fchmodat2", "ilii"),
    ("fchownat", "iliii"),
    ("fcntl", "iil"),
    ("flock", "ii"),
    ("fsopen", "li"),
    ("getpriority", "ii"),
    ("getrlimit", "il"),
    ("getsockopt", "iiill"),
    ("ioctl", "iil"),
    ("ioprio_set", "iii"),
    ("kcmp", "iiill"),
    ("keyctl", "illll"),
    ("kill", "ii"),
    ("linkat", "ilili"),
    ("madvise", "lli"),
    ("memfd_create", "li"),
    ("mkdirat", "ili"),
    ("mknod", "lii"),
    ("mknodat", "ilii"),
    ("mlock2", "lli"),
    ("mlockall", "i"),
    ("move_mount", "ilili"),
    ("open", "lii"),
    ("openat", "ilii"),
    ("open_by_handle_at", "ili"),
    ("open_tree", "ili"),
    ("personality", "i"),
    ("pidfd_getfd", "iii"),
    ("pidfd_open", "ii"),
    ("pipe2", "li"),
    ("prctl", "illll"),
    ("prlimit64", "iill"),
    ("renameat2", "ilili"),
    ("sched_setscheduler", "iil"),
    ("seccomp", "iil"),
    ("setgid", "i"),
    ("setns", "ii"),
    ("setpriority", "iii"),
    ("setresgid", "iii"),
    ("setresuid", "iii"),
    ("setsockopt", "iiili"),
    ("setuid", "i"),
    ("shmget", "ili"),
    ("socket", "iii"),
    ("socketpair", "iiil"),
    ("syslog", "ili"),
    ("tgkill", "iii"),
    ("umount2", "li"),
];

fn is_narrow(syscall: &str, index: usize) -> bool {
    let widths = WIDTHS.iter().find(|(name, _)| *name == syscall).map(|(_, widths)| *widths);
    widths.and_then(|widths| widths.as_bytes().get(index)) == Some(&b'i')
}

/// The rules that one entry of a profile makes. Several conditions on one argument are alternatives, each a rule of
/// its own, together with all others of that entry: so runc does it, and docker's profile once relied on it.
pub(super) fn rules(syscall: &str, args: &[LinuxSeccompArg], action: u32) -> Result<Vec<ArgRule>> {
    let conditions = args.iter().map(|arg| condition(syscall, arg)).collect::<Result<Vec<_>>>()?;
    let twice = |c: &Condition| conditions.iter().filter(|other| other.index == c.index).count() > 1;
    if conditions.iter().any(twice) {
        return Ok(conditions.iter().map(|c| ArgRule { conditions: vec![*c], action }).collect());
    }
    Ok(vec![ArgRule { conditions, action }])
}

fn condition(syscall: &str, arg: &LinuxSeccompArg) -> Result<Condition> {
    let index = arg.index();
    if index > 5 {
        return Err(Error::user(format!("seccomp rule for {syscall}: there is no argument {index}")).hint("0 to 5"));
    }
    let narrow = is_narrow(syscall, index);
    Ok(Condition {
        index: index as u8,
        narrow,
        operator: arg.op(),
        value: arg.value(),
        masked: arg.value_two().unwrap_or(0),
    })
}

/// Code that tries the rules in their order and ends with `otherwise`.
pub(super) fn code(rules: &[ArgRule], otherwise: u32) -> Vec<u64> {
    /// From here on a tree over the values is shorter than a list of comparisons.
    const MANY: usize = 8;
    if rules.len() > MANY
        && let Some(code) = by_value(rules, otherwise)
    {
        return code;
    }
    let mut code: Vec<u64> = rules.iter().flat_map(rule_code).collect();
    code.push(ret(otherwise));
    code
}

/// seccompiler's code for one rule falls through behind the action where the rule does not hold. Its first two
/// instructions only jump over each other.
fn rule_code(rule: &ArgRule) -> Vec<u64> {
    let conditions: Option<Vec<SeccompCondition>> = rule.conditions.iter().map(to_seccompiler).collect();
    // None: it can never hold
    let Some(conditions) = conditions else { return Vec::new() };
    let Ok(compiled) = SeccompRule::new(conditions) else { return vec![ret(rule.action)] };
    let program = BpfProgram::from(compiled);
    let words = program.iter().skip(2).map(|i| insn(i.code, i.jt, i.jf, i.k));
    words.chain([ret(rule.action)]).collect()
}

fn to_seccompiler(condition: &Condition) -> Option<SeccompCondition> {
    use LinuxSeccompOperator as Op;
    let too_large = condition.narrow && condition.value > u64::from(u32::MAX);
    let most = u64::from(u32::MAX);
    let (operator, value) = match condition.operator {
        // every 32-bit number is below a larger bound, and none above it
        Op::ScmpCmpLt | Op::ScmpCmpLe if too_large => (SeccompCmpOp::Le, most),
        Op::ScmpCmpGe | Op::ScmpCmpGt if too_large => (SeccompCmpOp::Gt, most),
        Op::ScmpCmpNe => (SeccompCmpOp::Ne, condition.value),
        Op::ScmpCmpLt => (SeccompCmpOp::Lt, condition.value),
        Op::ScmpCmpLe => (SeccompCmpOp::Le, condition.value),
        Op::ScmpCmpEq => (SeccompCmpOp::Eq, condition.value),
        Op::ScmpCmpGe => (SeccompCmpOp::Ge, condition.value),
        Op::ScmpCmpGt => (SeccompCmpOp::Gt, condition.value),
        // bits outside of the mask can never be equal; seccompiler would cut them off
        Op::ScmpCmpMaskedEq if condition.masked & !condition.value != 0 => return None,
        Op::ScmpCmpMaskedEq => (SeccompCmpOp::MaskedEq(condition.value), condition.masked),
    };
    let length = if condition.narrow { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    SeccompCondition::new(condition.index, length, operator, value).ok()
}

/// Rules that all look at the same 32-bit argument alone cut its values into ranges. None where they do not.
fn by_value(rules: &[ArgRule], otherwise: u32) -> Option<Vec<u64>> {
    let index = rules.first()?.conditions.first()?.index;
    let mut starts = vec![0u32];
    for rule in rules {
        let [condition] = rule.conditions[..] else { return None };
        let value = u32::try_from(condition.value).ok()?;
        if condition.index != index || !condition.narrow || condition.operator == LinuxSeccompOperator::ScmpCmpMaskedEq
        {
            return None;
        }
        starts.extend([Some(value), value.checked_add(1)].into_iter().flatten());
    }
    starts.sort_unstable();
    starts.dedup();
    let action = |value: u32| rules.iter().find(|r| holds(&r.conditions[0], value)).map_or(otherwise, |r| r.action);
    let ranges = merge(starts.into_iter().map(|from| Range { from, code: vec![ret(action(from))] }));
    let mut code = vec![insn(LD_ABS, 0, 0, 16 + 8 * u32::from(index))];
    code.extend(tree(&ranges));
    Some(code)
}

fn holds(condition: &Condition, value: u32) -> bool {
    use LinuxSeccompOperator as Op;
    let (left, right) = (u64::from(value), condition.value);
    match condition.operator {
        Op::ScmpCmpNe => left != right,
        Op::ScmpCmpLt => left < right,
        Op::ScmpCmpLe => left <= right,
        Op::ScmpCmpEq => left == right,
        Op::ScmpCmpGe => left >= right,
        Op::ScmpCmpGt => left > right,
        Op::ScmpCmpMaskedEq => left & right == condition.masked,
    }
}
