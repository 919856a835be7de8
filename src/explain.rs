//! A plan as a script: every step as the shell line that does the same, with the reason, in an order that bash can
//! follow up to the pivot. Pure.

use crate::plan::Plan;
use crate::plan::step::Step;
use crate::shell::{Shell, quote};
use serde::Serialize;
use std::fmt::Write as _;

/// Where the script stops being one that works: the line before it is the last that finds a tool of the host's.
pub const PIVOT: &str = "# ---- the pivot: from here on there is no tool of the host's, only what the image has";

/// The plan for a reader and for bash: what the host does, and within it, as a here-document, what the new process does
/// meanwhile. `root` is what `$R` stands for.
pub fn text(plan: &Plan, root: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "#!/bin/bash");
    let _ = writeln!(out, "# What `minirun run` does, each step as a line of shell, and why.");
    let _ = writeln!(out, "set -eu");
    let _ = writeln!(out, "{}", explained(&format!("export R={}", quote(root)), "the container's root"));
    let (clone, prepare) = match plan.prepare.split_last() {
        Some((clone @ Step::Clone { .. }, before)) => (Some(clone), before),
        _ => (None, &plan.prepare[..]),
    };
    let _ = writeln!(out, "{}", explained(&Shell::no_tool(PROTECTED).to_string(), PROTECTION));
    section(&mut out, "prepare: before the new process exists", prepare);
    if let Some(clone) = clone {
        birth(&mut out, clone, plan);
    }
    let title = "host: what only the host can do for it; $INIT_PID is the new process as the host sees it";
    section(&mut out, title, &plan.host);
    if clone.is_some() {
        let _ = writeln!(out, "\n# start: both sides are done");
        let _ = writeln!(out, "{}", explained("echo go >&4", "the new process reads it and becomes the program"));
        let _ = writeln!(out, "{}", explained("wait $!", "its exit code is this script's"));
    }
    out
}

/// What is done to this program and not to the container, and so is no step of the plan: where bash is in its place, there
/// is nothing to protect.
const PROTECTION: &str =
    "no write inside reaches the file of the runtime, whose process /proc/self/exe shows (CVE-2019-5736)";
const PROTECTED: &str =
    "the runtime is started again from a read-only mount of its file (open_tree(2), mount_setattr(2))";

/// The new process with all that it does itself. Two pipes lie between it and the host, as a socket does in a real run.
fn birth(out: &mut String, clone: &Step, plan: &Plan) {
    let _ =
        writeln!(out, "\n# birth: two pipes, 3 from the new process and 4 to it; they need no name once they are open");
    let _ =
        writeln!(out, "P=$(mktemp -d) && mkfifo \"$P/3\" \"$P/4\" && exec 3<> \"$P/3\" 4<> \"$P/4\" && rm -r \"$P\"");
    let _ = writeln!(out, "# {}; it reads the lines up to INSIDE while the host goes on below:", clone.why());
    let _ = writeln!(out, "{} <<'INSIDE' &", clone.shell());
    let _ = writeln!(out, "# inside: the new process sets itself up");
    if let Step::Clone { cgroup: Some(dir), .. } = clone {
        let line = format!("echo 0 > {}", quote(dir.child("cgroup.procs").as_str()));
        let _ = writeln!(out, "{}", explained(&line, "a real run is born in it (CLONE_INTO_CGROUP)"));
    }
    let tell = "read -r PID _ < /proc/self/stat && echo $PID >&3";
    let _ = writeln!(out, "{}", explained(tell, "the host's number of it: this is still the host's /proc"));
    let pivot = plan.inside.iter().position(Step::is_pivot);
    let (before, after) = plan.inside.split_at(pivot.unwrap_or(plan.inside.len()));
    steps(out, before);
    if !after.is_empty() {
        let _ = writeln!(out, "{PIVOT}");
    }
    steps(out, after);
    let _ = writeln!(out, "# start: the barrier, and the program");
    steps(out, &plan.start);
    let _ = writeln!(out, "INSIDE");
    let _ = writeln!(out, "read -r INIT_PID <&3");
}

fn section(out: &mut String, title: &str, list: &[Step]) {
    if !list.is_empty() {
        let _ = writeln!(out, "\n# {title}");
        steps(out, list);
    }
}

/// One line each; a reason that several have in common is given once.
fn steps(out: &mut String, list: &[Step]) {
    let mut why_before = "";
    for step in list {
        let why = if step.why() == why_before { "" } else { step.why() };
        let _ = writeln!(out, "{}", explained(&step.shell().to_string(), why));
        why_before = step.why();
    }
}

/// A short line carries its reason behind it, a long one above it.
fn explained(shell: &str, why: &str) -> String {
    const COLUMN: usize = 60;
    match why {
        "" => shell.to_owned(),
        why if shell.chars().count() <= COLUMN => format!("{shell:<COLUMN$}  # {why}"),
        why => format!("# {why}:\n{shell}"),
    }
}

#[derive(Serialize)]
struct Explained<'a> {
    phase: &'static str,
    /// The shell line, where a tool can do it.
    shell: Option<String>,
    /// What is done, where no tool can.
    no_tool: Option<String>,
    why: &'static str,
    step: &'a Step,
}

/// The plan for a program: a JSON array of steps.
pub fn json(plan: &Plan) -> String {
    let phases = [("prepare", &plan.prepare), ("host", &plan.host), ("inside", &plan.inside), ("start", &plan.start)];
    let all: Vec<_> = phases
        .into_iter()
        .flat_map(|(phase, steps)| {
            steps.iter().map(move |step| {
                let (shell, no_tool) = match step.shell() {
                    Shell::Line(line) => (Some(line), None),
                    Shell::NoTool(what) => (None, Some(what)),
                };
                Explained { phase, shell, no_tool, why: step.why(), step }
            })
        })
        .collect();
    serde_json::to_string_pretty(&all).unwrap_or_default()
}
