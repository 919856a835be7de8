//! A plan as text: every step as the shell line that does the same, with the reason. Pure.

use crate::plan::Plan;
use crate::plan::step::Step;
use crate::shell::Shell;
use serde::Serialize;
use std::fmt::Write as _;

/// The plan for a reader: four headed lists of shell lines. `root` is what `$R` stands for.
pub fn text(plan: &Plan, root: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "R={root}");
    for (title, steps) in [
        ("prepare: before the process exists", &plan.prepare),
        ("host: $INIT_PID is the new process, seen from the host", &plan.host),
        ("inside: the new process sets itself up, at the same time", &plan.inside),
        ("start: once both are done", &plan.start),
    ] {
        if !steps.is_empty() {
            let _ = writeln!(out, "\n# {title}");
        }
        let mut why_before = "";
        for step in steps {
            let why = if step.why() == why_before { "" } else { step.why() };
            let _ = writeln!(out, "{}", line(step, why));
            why_before = step.why();
        }
    }
    out
}

/// A short line carries its reason behind it, a long one above it.
fn line(step: &Step, why: &str) -> String {
    const COLUMN: usize = 60;
    let shell = step.shell().to_string();
    match why {
        "" => shell,
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
