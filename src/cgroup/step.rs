//! The steps of the cgroup domain as data: what each does as a shell line, why, and what takes it back.
//! Pure: `apply` does them.

use super::facts::Version;
use crate::id::HostPath;
use crate::shell::{Shell, quote};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A directory that several containers share; it stays.
    EnsureDir { dir: HostPath },
    /// The container's own directory.
    Mkdir { dir: HostPath, version: Version },
    /// cgroup.subtree_control.
    EnableControllers { dir: HostPath, controllers: Vec<String> },
    /// Every process of one cgroup into another, where the first must be empty to have children with controllers.
    MoveProcesses { from: HostPath, to: HostPath },
    /// One value into one file.
    Write { file: HostPath, value: String },
    /// The device filter of cgroup v2: a BPF program, as 64-bit words.
    AttachDeviceFilter { dir: HostPath, program: Vec<u64> },
    /// The calling process writes "0" into this file and is in the cgroup: `tasks` on v1, `cgroup.procs` on v2.
    Join { file: HostPath },
    /// The same for init, which is not yet in a position to do it itself.
    MoveInit { file: HostPath },
    /// From here on the process sees its own cgroup as the root.
    UnshareCgroupNamespace,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// Whatever still lives in it is killed, then it and what is below it go.
    Remove { dir: HostPath, version: Version },
}

impl Step {
    pub fn shell(&self) -> Shell {
        let line = |text: String| Shell::line(text);
        match self {
            Step::EnsureDir { dir } => line(format!("mkdir -p {}", q(dir))),
            Step::Mkdir { dir, version: _ } => line(format!("mkdir {}", q(dir))),
            Step::EnableControllers { dir, controllers } => {
                line(format!("echo {} > {}", quote(&enabling(controllers)), q(&dir.child("cgroup.subtree_control"))))
            }
            Step::MoveProcesses { from, to } => line(format!(
                "while read -r pid; do echo $pid > {}; done < {}",
                q(&to.child("cgroup.procs")),
                q(&from.child("cgroup.procs"))
            )),
            Step::Write { file, value } => line(format!("echo {} > {}", quote(value), q(file))),
            Step::AttachDeviceFilter { dir, program } => Shell::no_tool(format!(
                "a device filter of {} BPF instructions is attached to {} (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE)",
                program.len(),
                q(dir)
            )),
            Step::Join { file } => line(format!("echo 0 > {}", q(file))),
            Step::MoveInit { file } => line(format!("echo $INIT_PID > {}", q(file))),
            Step::UnshareCgroupNamespace => line("exec unshare --cgroup bash -eus".to_owned()),
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Step::EnsureDir { .. } => "all containers of this host are grouped below it",
            Step::Mkdir { .. } => "the container's processes are counted and limited here",
            Step::EnableControllers { .. } => "a v2 cgroup has only the controllers that its parent gives it",
            Step::MoveProcesses { .. } => "a v2 cgroup with processes of its own cannot give controllers to children",
            Step::Write { file, value: _ } => super::table::why(file.as_str()),
            Step::AttachDeviceFilter { .. } => "all devices but the harmless ones are refused by the kernel",
            Step::Join { .. } => "the process moves itself: that waits for nobody, a move from outside waits for RCU",
            Step::MoveInit { .. } => "root inside may not write to the host's cgroups",
            Step::UnshareCgroupNamespace => "the container sees its own cgroup as the root and nothing above",
        }
    }

    pub fn undo(&self) -> Option<Undo> {
        match self {
            Step::Mkdir { dir, version } => Some(Undo::Remove { dir: dir.clone(), version: *version }),
            Step::EnsureDir { .. }
            | Step::EnableControllers { .. }
            | Step::MoveProcesses { .. }
            | Step::Write { .. }
            | Step::AttachDeviceFilter { .. }
            | Step::Join { .. }
            | Step::MoveInit { .. }
            | Step::UnshareCgroupNamespace => None,
        }
    }
}

impl Undo {
    pub fn shell(&self) -> Shell {
        match self {
            Undo::Remove { dir, version: Version::V2 } => Shell::line(format!(
                "echo 1 > {}; find {} -depth -type d -exec rmdir {{}} ';'",
                q(&dir.child("cgroup.kill")),
                q(dir)
            )),
            Undo::Remove { dir, version: Version::V1 } => Shell::line(format!(
                "xargs -r kill -KILL < {}; find {} -depth -type d -exec rmdir {{}} ';'",
                q(&dir.child("cgroup.procs")),
                q(dir)
            )),
        }
    }
}

/// `+memory +pids`
pub(super) fn enabling(controllers: &[String]) -> String {
    controllers.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ")
}

fn q(path: &HostPath) -> String {
    quote(path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_a_line_of_bash_or_says_what_no_tool_can() {
        let dir = HostPath::parse("/sys/fs/cgroup/minirun/a b").unwrap();
        for (step, want) in [
            (Step::EnsureDir { dir: dir.clone() }, "mkdir -p '/sys/fs/cgroup/minirun/a b'"),
            (
                Step::Write { file: dir.child("pids.max"), value: "20".into() },
                "echo 20 > '/sys/fs/cgroup/minirun/a b/pids.max'",
            ),
            (
                Step::EnableControllers { dir: dir.clone(), controllers: vec!["cpu".into(), "pids".into()] },
                "echo '+cpu +pids' > '/sys/fs/cgroup/minirun/a b/cgroup.subtree_control'",
            ),
        ] {
            assert_eq!(step.shell().to_string(), want);
        }
        let filter = Step::AttachDeviceFilter { dir, program: vec![0; 3] };
        assert!(filter.shell().to_string().starts_with("# no shell tool: a device filter of 3 "));
    }
}
