//! Filters are run here by an interpreter, and compared with a plain reading of the profile.
#![allow(clippy::disallowed_methods)] // the environment asks for the generated file; a helper process tries the filter

use super::*;
use crate::security::capabilities::DEFAULT;
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Op, LinuxSyscall};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KERNEL: (u32, u32) = (5, 10);

/// Runs a classic BPF program over seccomp_data, as the kernel would; panics where the kernel would refuse it.
fn run(program: &[u64], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let half = |n: usize| (args[n / 2] >> (n % 2 * 32)) as u32;
    let data: [u32; 16] = std::array::from_fn(|n| [nr, arch, 0, 0].get(n).copied().unwrap_or_else(|| half(n - 4)));
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let word = program[pc];
        let (code, jt, jf, k) = (word as u16, (word >> 16) as u8, (word >> 24) as u8, (word >> 32) as u32);
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        pc += 1;
        match code {
            0x20 => a = data[k as usize / 4],
            0x54 => a &= k,
            0x05 => pc += k as usize,
            0x15 => pc += jump(a == k),
            0x25 => pc += jump(a > k),
            0x35 => pc += jump(a >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// The profile read plainly: what it says of one call, with int arguments cut as the kernel cuts them.
fn naive(rules: &[&LinuxSyscall], name: Option<&str>, args: [u64; 6]) -> u32 {
    let Some(name) = name else { return ENOSYS };
    let ints: &[usize] = match name {
        "socket" => &[0, 1, 2],
        "personality" | "clone" => &[0],
        _ => &[],
    };
    let holds = |arg: &LinuxSeccompArg| {
        let value = args[arg.index()];
        let value = if ints.contains(&arg.index()) { value & 0xffff_ffff } else { value };
        match arg.op() {
            Op::ScmpCmpEq => value == arg.value(),
            Op::ScmpCmpLt => value < arg.value(),
            Op::ScmpCmpMaskedEq => value & arg.value() == arg.value_two().unwrap_or(0),
            other => panic!("{other} is not in the profile"),
        }
    };
    let rule = rules.iter().find(|rule| rule.args().iter().flatten().all(holds));
    rule.map_or(EPERM, |rule| rule.action().as_u32(rule.errno_ret()))
}

fn with(names: &[&str]) -> Caps {
    let added: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    crate::security::capabilities::adjust(&added, &[]).unwrap()
}

/// Some arguments that conditions of the profile tell apart.
fn interesting() -> Vec<[u64; 6]> {
    let high = 1u64 << 32;
    let mut values: Vec<u64> = (0..=50).collect();
    values.extend([8, 0x2_0000, 0x2_0008, 0xffff_ffff, 0x1000_0000, 0x0100_0000, 0x0200_0000, 0x7e02_0000, u64::MAX]);
    values.extend(values.clone().iter().map(|v| v | high));
    values.into_iter().map(|v| [v, 1, 2, 3, 4, 5]).collect()
}

#[test]
fn the_program_decides_as_the_profile_reads() {
    let interesting = interesting();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for caps in [DEFAULT, Caps::NONE, Caps::all(), with(&["SYS_ADMIN"]), with(&["SYS_PTRACE", "BPF"])] {
            let profile = default_profile_spec(arch, caps, KERNEL).unwrap();
            let program = compile::compile(&profile, arch).unwrap();
            let names: HashMap<u32, &str> = arch.numbers().into_iter().map(|(name, number)| (number, name)).collect();
            for nr in 0..1000 {
                let name = names.get(&nr).copied();
                let all = profile.syscalls().iter().flatten();
                let rules: Vec<&LinuxSyscall> = all.filter(|r| r.names().iter().any(|n| Some(&**n) == name)).collect();
                // without conditions one look is as good as many
                let conditional = rules.iter().any(|rule| rule.args().is_some());
                for args in if conditional { &interesting[..] } else { &interesting[..1] } {
                    let (want, have) = (naive(&rules, name, *args), run(&program, arch.audit(), nr, *args));
                    assert_eq!(have, want, "{arch:?} {caps} call {nr} with {:#x}", args[0]);
                }
            }
        }
    }
}

#[test]
fn the_default_filter_keeps_its_promises() {
    let program = default::program(Arch::X86_64);
    let numbers = Arch::X86_64.numbers();
    let x86 = Arch::X86_64.audit();
    for (name, arg, want) in [
        ("read", 0, ALLOW),
        ("socket", 2, ALLOW),                // AF_INET
        ("socket", 40, EPERM),               // AF_VSOCK
        ("socket", 40 | 1 << 32, EPERM),     // the same for the kernel
        ("socket", 38, EPERM),               // AF_ALG
        ("socket", 46, EPERM),               // not yet a family
        ("personality", 0xffff_ffff, ALLOW), // a question
        ("personality", 0x0004_0000, EPERM), // ADDR_NO_RANDOMIZE
        ("personality", 1 << 32, ALLOW),     // 0 for the kernel
        ("clone", 0x0001_1200, ALLOW),       // threads
        ("clone", 0x1000_0000, EPERM),       // CLONE_NEWUSER
        ("clone", 0x2_0000, EPERM),          // CLONE_NEWNS
        ("clone3", 0, ENOSYS),
        ("unshare", 0, EPERM),
        ("mount", 0, EPERM),
        ("bpf", 0, EPERM),
        ("keyctl", 0, EPERM),
        ("io_uring_setup", 0, EPERM),
        ("userfaultfd", 0, EPERM),
        ("ptrace", 0, ALLOW),
        ("chroot", 0, ALLOW),
        ("futex_wake", 0, ALLOW),
        ("file_setattr", 0, EPERM),
    ] {
        assert_eq!(run(program, x86, numbers[name], [arg, 0, 0, 0, 0, 0]), want, "{name} {arg:#x}");
    }
    for (arch, nr) in [(x86, 1 << 30), (x86, u32::MAX), (x86, 500), (0x4000_0003, 3), (0xc000_00b7, 63)] {
        assert_eq!(run(program, arch, nr, [0; 6]), ENOSYS, "{arch:#x} {nr}");
    }
}

#[test]
fn the_default_filter_is_small() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let length = default::program(arch).len();
        assert!((80..=200).contains(&length), "{length} instructions");
    }
}

/// The text of program.rs.
fn generated() -> String {
    let mut text = String::from(
        "//! The default filter for each architecture, as `struct sock_filter` words. Generated from `profile.json` by\n\
         //! `MINIRUN_WRITE_SECCOMP=1 cargo test the_default_filter_is_the_profile`; not to be edited.\n",
    );
    for (name, arch) in [("X86_64", Arch::X86_64), ("AARCH64", Arch::Aarch64)] {
        let words = compile::compile(&default_profile_spec(arch, DEFAULT, KERNEL).unwrap(), arch).unwrap();
        write!(text, "\n#[rustfmt::skip]\npub(super) static {name}: [u64; {}] = [\n", words.len()).unwrap();
        for row in words.chunks(5) {
            let row: Vec<String> =
                row.iter().map(|word| format!("0x{:08x}_{:08x}", word >> 32, word & 0xffff_ffff)).collect();
            writeln!(text, "    {},", row.join(", ")).unwrap();
        }
        text.push_str("];\n");
    }
    text
}

#[test]
fn the_default_filter_is_the_profile() {
    if std::env::var_os("MINIRUN_WRITE_SECCOMP").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/security/seccomp/program.rs");
        return std::fs::write(path, generated()).unwrap();
    }
    assert!(
        include_str!("program.rs") == generated(),
        "program.rs is not what profile.json compiles to: MINIRUN_WRITE_SECCOMP=1 cargo test the_default_filter_is_the_profile"
    );
}

#[test]
fn only_capabilities_that_the_profile_asks_for_need_another_program() {
    let profile: serde_json::Value = serde_json::from_str(default::PROFILE).unwrap();
    let mut asked = Caps::NONE;
    for rule in profile["syscalls"].as_array().unwrap() {
        for side in ["includes", "excludes"] {
            for cap in rule[side]["caps"].as_array().into_iter().flatten() {
                let cap = crate::security::capabilities::parse(cap.as_str().unwrap()).unwrap();
                asked = asked.or([cap].into_iter().collect());
            }
        }
    }
    assert_eq!(asked, default::ASKED_FOR);
    for (caps, want) in
        [(DEFAULT, true), (with(&["NET_ADMIN"]), true), (with(&["SYS_TIME"]), false), (Caps::NONE, false)]
    {
        assert_eq!(default::fits(caps), want, "{caps}");
    }
}

fn one(json: &str) -> Result<Vec<u64>> {
    compile::compile(&serde_json::from_str::<LinuxSeccomp>(json).unwrap(), Arch::X86_64)
}

fn decide(json: &str, name: &str, args: [u64; 6]) -> u32 {
    run(&one(json).unwrap(), Arch::X86_64.audit(), Arch::X86_64.numbers()[name], args)
}

#[test]
fn operators_on_wide_and_narrow_arguments() {
    let high = 1u64 << 32;
    // lseek's offset (1) is 64 bits wide, fcntl's command (1) 32
    for (op, value, two, argument, wide, narrow) in [
        ("EQ", 5, 0, 5, true, true),
        ("EQ", 5, 0, 5 | high, false, true),
        ("EQ", u64::MAX, 0, u64::from(u32::MAX), false, true),
        ("NE", 5, 0, 5 | high, true, false),
        ("LT", 5, 0, 4 | high, false, true),
        ("LE", 5, 0, 5, true, true),
        ("LT", high, 0, 7, true, true),
        ("GT", high, 0, 7 | high, true, false),
        ("GE", 5, 0, 5, true, true),
        ("GT", 5, 0, high, true, false),
        ("MASKED_EQ", 0xf0, 0x10, 0x1f, true, true),
        ("MASKED_EQ", 0xf0, 0x10, 0x2f, false, false),
        ("MASKED_EQ", 0x10, 0xf0, 0xf0, false, false),
        ("MASKED_EQ", 0xf0 | high, 0x10, 0x10 | high, false, true),
    ] {
        for (name, want) in [("lseek", wide), ("fcntl", narrow)] {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["{name}"],"action":"SCMP_ACT_ALLOW",
                   "args":[{{"index":1,"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}]}}]}}"#
            );
            let have = decide(&json, name, [0, argument, 0, 0, 0, 0]) == ALLOW;
            assert_eq!(have, want, "{name} {op} {value:#x} {two:#x} with {argument:#x}");
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_all_must_hold() {
    let json = |second: u32| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["lseek"],"action":"SCMP_ACT_ALLOW","args":[
               {{"index":0,"value":1,"op":"SCMP_CMP_EQ"}},{{"index":{second},"value":2,"op":"SCMP_CMP_EQ"}}]}}]}}"#
        )
    };
    for (second, args, want) in [
        (0, [1, 9, 0, 0, 0, 0], ALLOW),
        (0, [2, 9, 0, 0, 0, 0], ALLOW),
        (0, [3, 9, 0, 0, 0, 0], EPERM),
        (1, [1, 2, 0, 0, 0, 0], ALLOW),
        (1, [1, 3, 0, 0, 0, 0], EPERM),
        (1, [2, 2, 0, 0, 0, 0], EPERM),
    ] {
        assert_eq!(decide(&json(second), "lseek", args), want, "{second} {args:?}");
    }
}

#[test]
fn several_actions_stand_in_one_filter() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":3,"args":[{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":15,"op":"SCMP_CMP_EQ"}]},
        {"names":["reboot","no_such_call"],"action":"SCMP_ACT_TRAP"},
        {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["read"],"action":"SCMP_ACT_LOG"}]}"#;
    for (name, args, want) in [
        ("kill", [0, 9, 0, 0, 0, 0], 0x0005_0003),
        ("kill", [0, 15, 0, 0, 0, 0], 0x8000_0000),
        ("kill", [0, 1, 0, 0, 0, 0], ALLOW),
        ("reboot", [0; 6], 0x0003_0000),
        ("write", [0; 6], ALLOW),
        ("read", [9, 0, 0, 0, 0, 0], 0x7ffc_0000), // the rule without conditions wins
    ] {
        assert_eq!(decide(json, name, args), want, "{name} {args:?}");
    }
    // what allows by default allows what it has never heard of, but no other architecture
    let program = one(json).unwrap();
    assert_eq!(run(&program, Arch::X86_64.audit(), 900, [0; 6]), ALLOW);
    assert_eq!(run(&program, Arch::X86_64.audit(), 1 << 30, [0; 6]), ENOSYS);
    assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), ENOSYS);
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    for json in [
        r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    ] {
        assert!(one(json).is_err(), "{json}");
    }
    let many: Vec<String> = (0..3000)
        .map(|n| format!(r#"{{"names":["lseek"],"action":"SCMP_ACT_ALLOW","args":[{{"index":1,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#))
        .collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, many.join(","));
    assert!(one(&json).unwrap_err().message.contains("instructions"));
}

#[test]
fn far_jumps_reach() {
    let many: Vec<String> = (0..300)
        .map(|n| format!(r#"{{"names":["lseek"],"action":"SCMP_ACT_ALLOW","args":[{{"index":1,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#))
        .collect();
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{},{{"names":["futex","openat2"],"action":"SCMP_ACT_ALLOW"}}]}}"#,
        many.join(",")
    );
    for (name, arg, want) in
        [("lseek", 299, ALLOW), ("lseek", 300, EPERM), ("futex", 0, ALLOW), ("openat2", 0, ALLOW), ("read", 0, EPERM)]
    {
        assert_eq!(decide(&json, name, [0, arg, 0, 0, 0, 0]), want, "{name} {arg}");
    }
}
