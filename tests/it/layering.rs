//! Holds the arrows of src/README.md: which module may name which. It reads the text of src/, so it needs no build of
//! it, and sees every branch of every `cfg`. Unit tests inside the files are left out: they may look anywhere.

use crate::support::source::{self, Source};

/// Who may name whom. A line is (module, what it may name); a submodule has its own line or that of its parent.
/// What everybody may name, `FLOOR`, is left out, and so is a module's own inside.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("id", &[]),
    ("shell", &[]),
    ("sys", &[]),
    ("mount", &["sys"]),
    ("cgroup", &["sys"]),
    ("security", &["sys"]),
    ("net", &["sys"]),
    ("image", &["sys"]),
    ("state", &["sys"]),
    ("facts", &["plan", "mount", "cgroup", "security", "net", "spec", "state", "sys"]),
    ("plan", &["mount", "cgroup", "security", "net", "spec"]),
    ("spec", &["mount", "cgroup", "security", "net"]),
    ("explain", &["plan"]),
    ("engine", &["plan", "mount", "cgroup", "security", "net", "image", "state", "sys"]),
    ("monitor", &["engine", "plan", "facts", "image", "net", "state", "sys"]),
    (
        "ops",
        &[
            "monitor", "engine", "explain", "spec", "plan", "facts", "image", "state", "mount", "cgroup", "security",
            "net", "sys",
        ],
    ),
    ("cli", &["ops", "explain", "spec", "state::Roots"]), // what it parses: spec's request, and where state is kept
    ("main", &["cli", "monitor"]),                        // the binary executes itself once, as the monitor
];

/// Layer 0, for everybody.
const FLOOR: &[&str] = &["error", "id", "shell"];

/// The half of a domain that touches the system. The other half, all its other files, is pure.
const DEEDS: &[&str] = &[
    "mount::apply",
    "mount::lend",
    "mount::overlay",
    "mount::probe",
    "cgroup::apply",
    "cgroup::probe",
    "cgroup::usage",
    "security::apply",
    "security::probe",
    "net::apply",
    "net::batch",
    "net::probe",
    "net::files",
    "net::firewalld",
    "net::lease",
    "net::legacy",
    "net::link",
    "net::neighbours",
    "net::resolver",
    "net::record",
    "net::refused",
    "net::remove",
    "net::survey",
    "net::sublink",
    "net::undo",
    "net::view",
    "net::wire",
];

/// They plan and print: they neither look at the system nor change it, and name nothing that does.
const PURE: &[&str] = &["error", "id", "shell", "plan", "spec", "explain", "mount", "cgroup", "security", "net"];

/// Types of `sys` that are plain data, in the kernel's words: the pure half may hold them.
const WORDS: &[&str] = &["sys::nftables", "sys::process::Identity", "sys::tty::Size"];

/// What reaches the system from the standard library.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::TcpListener",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
];

/// Crates with one home, or a few.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("anstream", &["cli"]),
    ("tokio", &["sys"]),
    ("futures_util", &["sys"]),
    ("ureq", &["image"]),
    ("rustls", &["image"]),
];

#[test]
fn arrows_only_point_down() {
    let mut wrong = Vec::new();
    for file in source::production_files() {
        wrong.extend(violations(&file));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// One line for each name in the file that its module may not use.
fn violations(file: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut report = |line: usize, text: String| wrong.push(format!("{}:{line}: {text}", file.path));
    let pure = is_pure(&file.module);
    for name in file.names() {
        if let Some(inside) = name.path.strip_prefix("crate::") {
            if !may_name(&file.module, inside) {
                report(name.line, format!("{} may not name {}", file.module, name.path));
            } else if name.exported && first(inside) != first(&file.module) {
                report(
                    name.line,
                    format!("{} passes {} on: whoever needs it names it himself", file.module, name.path),
                );
            }
        } else if pure && IMPURE.iter().any(|i| within(&name.path, i)) {
            report(name.line, format!("{} is pure and names {}", file.module, name.path));
        } else if let Some((_, homes)) = HOMES.iter().find(|(krate, _)| first(&name.path) == *krate)
            && !homes.contains(&first(&file.module))
        {
            report(name.line, format!("{} belongs into {homes:?}, not into {}", name.path, file.module));
        }
    }
    wrong
}

fn may_name(from: &str, to: &str) -> bool {
    let Some((module, allowed)) = ARROWS.iter().find(|(module, _)| within(from, module)) else { return from == "lib" };
    let allowed = within(to, module) || FLOOR.contains(&first(to)) || allowed.iter().any(|a| within(to, a));
    let word = WORDS.iter().any(|w| within(to, w));
    let touches = within(to, "sys") || DEEDS.iter().any(|d| within(to, d));
    if is_pure(from) { word || (allowed && !touches) } else { allowed }
}

/// A domain's own root file only lists its parts.
fn is_pure(module: &str) -> bool {
    PURE.contains(&first(module)) && !DEEDS.iter().any(|d| within(module, d))
}

/// Whether `path` is `module` or lies in it.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

/// What the check says of a file with this text.
fn check(path: &str, text: &str) -> Vec<String> {
    violations(&Source::new(path, text))
}

#[test]
fn every_top_level_module_has_its_arrows() {
    for file in source::production_files() {
        let known = file.module == "lib" || ARROWS.iter().any(|(module, _)| first(&file.module) == *module);
        assert!(known, "{}: give {} a line in ARROWS and a place in src/README.md", file.path, file.module);
    }
}

#[test]
fn a_use_against_the_arrows_is_caught() {
    for (path, text) in [
        ("src/sys/mount.rs", "use crate::net::Link;"),
        ("src/mount/apply.rs", "use crate::{error::Result, cgroup::{self, step}};"),
        ("src/mount/apply.rs", "use crate :: net\n  :: step;"),
        ("src/plan/build.rs", "use crate::sys::fs;"),
        ("src/net/plan.rs", "use crate::net::apply::apply;"),
        ("src/cli/run.rs", "use minirun::sys::fs;"),
        ("src/plan/build.rs", "use crate::mount;\nfn f() { mount::apply::apply() }"),
        ("src/plan/build.rs", "use crate::{mount as m};\nfn f() { m::probe::facts() }"),
        ("src/explain.rs", "use crate::*;"),
        ("src/spec/mod.rs", "use std::fs;"),
        ("src/net/step.rs", "use std::{env, fmt};"),
        ("src/ops/run.rs", "use clap::Parser;"),
        ("src/engine/mod.rs", "#[cfg(target_arch = \"aarch64\")]\nuse crate::ops::run;"),
    ] {
        assert!(!check(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn an_inline_path_against_the_arrows_is_caught() {
    for (path, text) in [
        ("src/mount/apply.rs", "fn f() -> u8 { crate::net::apply::f() }"),
        ("src/mount/plan.rs", "fn f() { crate::sys::fs::exists(p) }"),
        ("src/mount/deep/file.rs", "fn f() { super::super::super::ops::run() }"),
        ("src/mount/mod.rs", "fn f() { super::ops::run() }"),
        ("src/mount/mod.rs", "use super::{ops::run, error::Error};"),
        ("src/sys/mod.rs", "macro_rules! m { () => { $crate::ops::run() } }"),
        ("src/spec/mod.rs", "fn f() { let x = std::fs::read(p); }"),
        ("src/sys/fs.rs", "fn f<'a>(x: &'a str, c: char) { if c == '\"' { crate::ops::run() } }"),
    ] {
        assert!(!check(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn a_re_export_is_caught_even_where_the_arrow_is_allowed() {
    for (path, text) in [
        ("src/ops/mod.rs", "pub use crate::sys::fs;"),
        ("src/net/mod.rs", "pub(crate) use crate::{sys::netlink as nl};"),
        ("src/lib.rs", "pub use crate::sys::fs::read;"),
        ("src/engine/mod.rs", "pub use super::plan::Plan;"),
    ] {
        assert!(!check(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_the_arrows_allow_passes() {
    for (path, text) in [
        (
            "src/mount/apply.rs",
            "use crate::error::{Error, Result}; use crate::mount::step::Step; use super::step::Undo;",
        ),
        (
            "src/mount/mod.rs",
            "pub mod step; pub use step::Step; pub use self::plan::plan; pub(super) use super::mount::x;",
        ),
        ("src/net/plan.rs", "use std::net::Ipv4Addr; use super::step::Step;"),
        ("src/ops/run.rs", "/// see crate::cli::run\nfn f() { let s = \"crate::cli\"; /* crate::cli::x */ }"),
        ("src/ops/run.rs", "const S: &str = r#\"a \" crate::cli::x\"#; const C: char = '\\'';"),
        (
            "src/mount/plan.rs",
            "#[cfg(test)]\nmod tests { use super::*; use crate::sys::fs; fn f() { std::fs::read(x); } }",
        ),
        ("src/main.rs", "fn main() { minirun::cli::main() }"),
        ("src/error.rs", "pub use nix::errno::Errno;"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
