//! The device filter: an OCI rule list as lines for v1's devices.allow and devices.deny, and as a BPF program for v2.
//! Pure. The last rule that speaks of an access decides it; what no rule speaks of is denied.

use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Access bits as the kernel has them (include/uapi/linux/bpf.h, BPF_DEVCG_ACC_*).
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Block,
    Char,
}

/// A rule without what cannot be: numbers are in range, `None` is `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
    Rule { allow: true, kind, major, minor, access }
}

/// Docker's and runc's table without tun: any node may be made, only these may be opened.
const DEFAULT: [Rule; 11] = [
    allow(Kind::Char, None, None, MKNOD),
    allow(Kind::Block, None, None, MKNOD),
    allow(Kind::Char, Some(1), Some(3), ALL), // null
    allow(Kind::Char, Some(1), Some(5), ALL), // zero
    allow(Kind::Char, Some(1), Some(7), ALL), // full
    allow(Kind::Char, Some(1), Some(8), ALL), // random
    allow(Kind::Char, Some(1), Some(9), ALL), // urandom
    allow(Kind::Char, Some(5), Some(0), ALL), // tty
    allow(Kind::Char, Some(5), Some(1), ALL), // console
    allow(Kind::Char, Some(5), Some(2), ALL), // ptmx
    allow(Kind::Char, Some(136), None, ALL),  // pts/*
];

/// The rules of a container: those given, then the harmless devices that every container has
/// (config-linux.md, default devices; runc appends them too).
pub fn rules(given: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let mut rules = given.iter().map(rule).collect::<Result<Vec<_>>>()?;
    let all_allowed = rules
        .iter()
        .rposition(|r| r.kind == Kind::Any)
        .is_some_and(|at| rules[at].allow && rules[at].access == ALL && rules[at + 1..].iter().all(|r| r.allow));
    if !all_allowed {
        rules.extend(DEFAULT);
    }
    Ok(rules)
}

fn rule(given: &LinuxDeviceCgroup) -> Result<Rule> {
    let bad = |what: &str| Error::user(format!("invalid device rule: {what}"));
    let kind = match given.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => Kind::Any,
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
        LinuxDeviceType::P => return Err(bad("a fifo is no device")),
    };
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        // 2^31 and more would be sign-extended in the program's comparison; device numbers have 12 and 20 bits
        Some(n) => u32::try_from(n).ok().filter(|n| *n < 1 << 20).map(Some).ok_or_else(|| bad(&format!("number {n}"))),
    };
    let text = given.access().as_deref().filter(|text| !text.is_empty());
    let mut access = 0;
    for letter in text.unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => return Err(bad(&format!("access {other:?}, which is not one of r, w, m"))),
        };
    }
    let (major, minor) = (number(given.major())?, number(given.minor())?);
    if kind == Kind::Any && (major.is_some() || minor.is_some() || access != ALL) {
        // v1 would quietly take it for all devices
        return Err(bad("type `a` stands for all devices and all access").hint("give one rule for b and one for c"));
    }
    Ok(Rule { allow: given.allow(), kind, major, minor, access })
}

/// v1: what to write into devices.deny and devices.allow, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: &'static str,
    pub value: String,
}

/// v1 keeps a list of exceptions to one default, and forgets a denial of a part of an exception without a word
/// (security/device_cgroup.c, dev_exception_rm). So the list is worked out here, and what it cannot say is an error.
pub fn lines(rules: &[Rule]) -> Result<Vec<Line>> {
    let start = rules.iter().rposition(|r| r.kind == Kind::Any);
    let default_allow = start.is_some_and(|at| rules[at].allow);
    let mut exceptions: Vec<Rule> = Vec::new();
    for rule in &rules[start.map_or(0, |at| at + 1)..] {
        if rule.allow != default_allow {
            merge(&mut exceptions, *rule);
            continue;
        }
        for exception in &mut exceptions {
            if same_devices(exception, rule) {
                exception.access &= !rule.access;
            } else if overlap(exception, rule) {
                return Err(Error::user(format!(
                    "device rules {} and {} overlap, which cgroup v1 cannot express",
                    text(exception),
                    text(rule)
                )));
            }
        }
        exceptions.retain(|exception| exception.access != 0);
    }
    let (first, then) =
        if default_allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    let mut lines = vec![Line { file: first, value: "a".to_owned() }];
    lines.extend(exceptions.iter().map(|e| Line { file: then, value: text(e) }));
    Ok(lines)
}

fn merge(exceptions: &mut Vec<Rule>, rule: Rule) {
    match exceptions.iter_mut().find(|e| same_devices(e, &rule)) {
        Some(exception) => exception.access |= rule.access,
        None => exceptions.push(rule),
    }
}

fn same_devices(a: &Rule, b: &Rule) -> bool {
    (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
}

fn overlap(a: &Rule, b: &Rule) -> bool {
    let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.kind == b.kind && meets(a.major, b.major) && meets(a.minor, b.minor) && a.access & b.access != 0
}

/// `c 1:3 rwm`
fn text(rule: &Rule) -> String {
    let kind = match rule.kind {
        Kind::Any => 'a',
        Kind::Block => 'b',
        Kind::Char => 'c',
    };
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| rule.access & bit != 0)
        .map(|(_, c)| *c)
        .collect();
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}

/// Instructions of eBPF (Documentation/bpf/standardization/instruction-set.rst) as 64-bit words.
mod bpf {
    pub(super) const LOAD_U32: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
    pub(super) const AND_IMM: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
    pub(super) const RSH_IMM: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
    pub(super) const MOV_IMM: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
    pub(super) const MOV_REG: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
    pub(super) const JNE_IMM: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
    pub(super) const JEQ_IMM: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    pub(super) const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

    pub(super) const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
        code as u64 | (((src << 4 | dst) as u64) << 8) | ((off as u16 as u64) << 16) | ((imm as u32 as u64) << 32)
    }
}

/// v2: the program. Its context is `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`, access in the
/// upper half of the first; 1 allows, 0 denies. From the last rule to the first: an allowing rule takes its bits off
/// what is still asked for, a denying one ends with 0 if it touches any of them.
pub fn program(rules: &[Rule]) -> Vec<u64> {
    use bpf::{AND_IMM, EXIT, LOAD_U32, MOV_IMM, MOV_REG, RSH_IMM, insn};
    let mut words = vec![
        insn(LOAD_U32, 2, 1, 0, 0),
        insn(MOV_REG, 3, 2, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff), // r2: type
        insn(RSH_IMM, 3, 0, 0, 16),     // r3: access asked for
        insn(LOAD_U32, 4, 1, 4, 0),     // r4: major
        insn(LOAD_U32, 5, 1, 8, 0),     // r5: minor
    ];
    for rule in rules.iter().rev() {
        words.extend(block(rule));
        if rule.kind == Kind::Any {
            return words; // it has decided; the verifier refuses code that cannot be reached
        }
    }
    words.extend([insn(MOV_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    words
}

fn block(rule: &Rule) -> Vec<u64> {
    use bpf::{AND_IMM, EXIT, JEQ_IMM, JNE_IMM, MOV_IMM, MOV_REG, insn};
    let answer = [insn(MOV_IMM, 0, 0, 0, i32::from(rule.allow)), insn(EXIT, 0, 0, 0, 0)];
    let kind = match rule.kind {
        Kind::Any => return answer.to_vec(),
        Kind::Block => 1, // BPF_DEVCG_DEV_BLOCK
        Kind::Char => 2,  // BPF_DEVCG_DEV_CHAR
    };
    let mut body = Vec::new();
    if rule.allow && rule.access != ALL {
        body.push(insn(AND_IMM, 3, 0, 0, i32::from(!rule.access & ALL)));
        body.push(insn(JNE_IMM, 3, 0, 2, 0));
    } else if !rule.allow && rule.access != ALL {
        body.push(insn(MOV_REG, 1, 3, 0, 0));
        body.push(insn(AND_IMM, 1, 0, 0, i32::from(rule.access)));
        body.push(insn(JEQ_IMM, 1, 0, 2, 0));
    }
    body.extend(answer);
    let mut tests = vec![(2, kind)];
    tests.extend(rule.major.map(|n| (4, n as i32)));
    tests.extend(rule.minor.map(|n| (5, n as i32)));
    let count = tests.len();
    let jump = |(at, (register, value))| insn(JNE_IMM, register, 0, (count - 1 - at + body.len()) as i16, value);
    let mut words: Vec<u64> = tests.into_iter().enumerate().map(jump).collect();
    words.extend(body);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: &str) -> Vec<Rule> {
        rules(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap()).unwrap()
    }

    /// Runs the program as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0;
        loop {
            let word = program[pc];
            let (code, dst, src) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (off, imm) = ((word >> 16) as i16 as isize, (word >> 32) as i32 as i64 as u64);
            pc += 1;
            match code {
                bpf::LOAD_U32 => r[dst] = u64::from(context[off as usize / 4]),
                bpf::AND_IMM => r[dst] &= imm,
                bpf::RSH_IMM => r[dst] >>= imm,
                bpf::MOV_IMM => r[dst] = imm,
                bpf::MOV_REG => r[dst] = r[src],
                bpf::JNE_IMM if r[dst] != imm => pc = pc.checked_add_signed(off).unwrap(),
                bpf::JEQ_IMM if r[dst] == imm => pc = pc.checked_add_signed(off).unwrap(),
                bpf::JNE_IMM | bpf::JEQ_IMM => {}
                bpf::EXIT => return r[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;

    #[test]
    fn by_default_only_the_harmless_devices_open() {
        let program = program(&given(r#"[{"allow":false,"access":"rwm"}]"#));
        for (kind, access, major, minor, want) in [
            (CHAR, READ | WRITE, 1, 3, true),  // null
            (CHAR, READ, 1, 1, false),         // mem
            (CHAR, MKNOD, 1, 1, true),         // a node may be made
            (CHAR, MKNOD | READ, 1, 1, false), // but not opened
            (BLOCK, MKNOD, 8, 0, true),
            (BLOCK, READ, 8, 0, false),
            (CHAR, READ | WRITE, 136, 7, true),   // pts/7
            (CHAR, READ | WRITE, 10, 200, false), // tun
            (BLOCK, READ, 1, 3, false),
        ] {
            assert_eq!(run(&program, kind, access.into(), major, minor), want, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn the_last_rule_that_speaks_of_a_bit_decides_it() {
        let program = program(&given(
            r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"r"},
                {"allow":true,"type":"b","major":8,"minor":0,"access":"w"},
                {"allow":true,"type":"b","major":9,"access":"rw"},
                {"allow":false,"type":"b","major":9,"minor":1,"access":"w"}]"#,
        ));
        for (access, major, minor, want) in [
            (READ | WRITE, 8, 0, true),
            (READ | WRITE, 8, 1, false),
            (READ | WRITE, 9, 0, true),
            (READ | WRITE, 9, 1, false),
            (READ, 9, 1, true),
        ] {
            assert_eq!(run(&program, BLOCK, access.into(), major, minor), want, "{access} {major}:{minor}");
        }
    }

    #[test]
    fn privileged_is_everything() {
        let rules = given(r#"[{"allow":true,"access":"rwm"}]"#);
        assert!(run(&program(&rules), BLOCK, READ.into(), 8, 0));
        assert_eq!(lines(&rules).unwrap(), [Line { file: "devices.allow", value: "a".into() }]);
    }

    #[test]
    fn v1_lines_are_the_same_rules_worked_out() {
        let lines = lines(&given(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
                {"allow":true,"type":"b","major":8,"access":"r"},
                {"allow":true,"type":"b","major":8,"access":"w"},
                {"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#,
        ))
        .unwrap();
        let values: Vec<&str> = lines.iter().map(|l| l.value.as_str()).collect();
        assert_eq!(values[..5], ["a", "c 10:229 r", "b 8:* rw", "c *:* m", "b *:* m"]);
        assert_eq!(lines[0].file, "devices.deny");
        assert!(lines[1..].iter().all(|l| l.file == "devices.allow"));
    }

    #[test]
    fn what_v1_cannot_say_and_what_makes_no_sense_is_refused() {
        let hole = r#"[{"allow":true,"type":"b","major":8,"access":"rw"},
                       {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#;
        assert!(lines(&given(hole)).is_err());
        for json in [
            r#"[{"allow":true,"type":"p"}]"#,
            r#"[{"allow":true,"type":"c","major":-2}]"#,
            r#"[{"allow":true,"type":"c","access":"x"}]"#,
            r#"[{"allow":false,"type":"a","major":8,"access":"rwm"}]"#,
        ] {
            assert!(rules(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap()).is_err(), "{json}");
        }
    }
}
