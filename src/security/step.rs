//! The steps of the security domain as data. All of them change the calling process only, so none needs an undo:
//! they end with it. Pure: `apply` does them.

use super::capabilities::Caps;
use super::rlimits::{Rlimit, name, text};
use super::seccomp::Filter;
use crate::shell::{Shell, quote};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// One of the three that can be done to init as well as by it, and that only root of the host may do.
    ToInit(Box<Step>),
    Rlimit(Rlimit),
    /// /proc/self/oom_score_adj, while /proc is still the host's.
    OomScoreAdj {
        value: i32,
    },
    Nice {
        value: i32,
    },
    /// The profile that the next exec changes to.
    AppArmorOnExec {
        profile: String,
    },
    /// The label that the next exec changes to.
    SelinuxOnExec {
        label: String,
    },
    NewSessionKeyring,
    NoNewPrivileges,
    /// seccomp(2) with these SECCOMP_FILTER_FLAG_* bits.
    Seccomp {
        filter: Filter,
        flags: u32,
    },
    /// All others are dropped from the bounding set for good.
    BoundingSet {
        keep: Caps,
    },
    /// The permitted set shall survive the change of user.
    KeepCapabilities,
    /// Exactly these supplementary groups.
    Groups {
        gids: Vec<u32>,
    },
    Gid {
        gid: u32,
    },
    Uid {
        uid: u32,
    },
    CapabilitySets {
        permitted: Caps,
        effective: Caps,
        inheritable: Caps,
    },
    AmbientSet {
        caps: Caps,
    },
    Umask {
        mask: u32,
    },
    ClearParentDeathSignal,
    /// Dispositions to their defaults, nothing blocked.
    ResetSignals,
    /// Every descriptor from this one on is closed by exec.
    CloseOnExec {
        from: u32,
    },
}

/// Nothing of this domain outlives its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {}

impl Step {
    pub fn shell(&self) -> Shell {
        match self {
            Step::ToInit(step) => match step.shell() {
                Shell::Line(line) => {
                    Shell::line(line.replace("$$", "$INIT_PID").replace("/proc/self/", "/proc/$INIT_PID/"))
                }
                no_tool => no_tool,
            },
            Step::Rlimit(limit) => Shell::line(format!(
                "prlimit --pid $$ --{}={}:{}",
                name(limit.resource),
                text(limit.soft),
                text(limit.hard)
            )),
            Step::OomScoreAdj { value } => Shell::line(format!("echo {value} > /proc/self/oom_score_adj")),
            Step::Nice { value } => Shell::line(format!("renice -n {value} -p $$ > /dev/null")),
            Step::AppArmorOnExec { profile } => {
                Shell::line(format!("echo {} > /proc/self/attr/apparmor/exec", quote(&format!("exec {profile}"))))
            }
            Step::SelinuxOnExec { label } => Shell::line(format!("echo {} > /proc/self/attr/exec", quote(label))),
            Step::NewSessionKeyring => Shell::no_tool("a new session keyring (keyctl(2), as `keyctl session` has it)"),
            Step::NoNewPrivileges => Shell::no_tool("no_new_privs is set (prctl(2), as setpriv --no-new-privs has it)"),
            Step::Seccomp { filter, flags: _ } => Shell::no_tool(format!(
                "{} is loaded, {} BPF instructions (seccomp(2))",
                filter.name(),
                filter.program().len()
            )),
            Step::BoundingSet { keep } => Shell::no_tool(format!(
                "the bounding set is cut (prctl(2), as setpriv --bounding-set -all{} has it)",
                plus(*keep)
            )),
            Step::KeepCapabilities => {
                Shell::no_tool("capabilities survive the change of user (prctl(2), PR_SET_KEEPCAPS)")
            }
            Step::Groups { gids } => {
                let gids = gids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                Shell::no_tool(format!(
                    "supplementary groups are set (setgroups(2), as setpriv --groups {gids} has it)"
                ))
            }
            Step::Gid { gid } => {
                Shell::no_tool(format!("the group is set (setresgid(2), as setpriv --regid {gid} has it)"))
            }
            Step::Uid { uid } => {
                Shell::no_tool(format!("the user is set (setresuid(2), as setpriv --reuid {uid} has it)"))
            }
            Step::CapabilitySets { permitted, effective, inheritable } => Shell::no_tool(format!(
                "capabilities are set (capset(2)): permitted {permitted}; effective {effective}; inheritable {inheritable}"
            )),
            Step::AmbientSet { caps } => Shell::no_tool(format!(
                "ambient capabilities are set (prctl(2), as setpriv --ambient-caps -all{} has it)",
                plus(*caps)
            )),
            Step::Umask { mask } => Shell::line(format!("umask {mask:04o}")),
            Step::ClearParentDeathSignal => {
                Shell::no_tool("no signal when the parent dies (prctl(2), as setpriv --pdeathsig clear has it)")
            }
            Step::ResetSignals => Shell::no_tool(
                "signals get their default dispositions and none is blocked (as env --default-signal --block-signal= has it)",
            ),
            Step::CloseOnExec { from } => Shell::no_tool(format!(
                "descriptors from {from} on are closed when the program starts (close_range(2), CLOSE_RANGE_CLOEXEC)"
            )),
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Step::ToInit(step) => step.why(),
            Step::Rlimit(_) => "limits of a process are inherited, so they are set before there is a program",
            Step::OomScoreAdj { .. } => "how early the kernel kills it when the host has no memory left",
            Step::Nice { .. } => "our caller's priority is none of the container's",
            Step::AppArmorOnExec { .. } => "the program starts confined by this profile",
            Step::SelinuxOnExec { .. } => "the program starts with this label",
            Step::NewSessionKeyring => "the caller's keys stay with the caller",
            Step::NoNewPrivileges => "no set-user-id file can give more than the process has",
            Step::Seccomp { .. } => "system calls that no container needs are refused",
            Step::BoundingSet { .. } => "what is not in it cannot be had by any file or exec ever again",
            Step::KeepCapabilities => "the kernel would take all of them when root becomes another user",
            Step::Groups { .. } => "the caller's groups would open the host's files",
            Step::Gid { .. } => "the group goes before the user, who may not change it any more",
            Step::Uid { .. } => "the program is this user from here on",
            Step::CapabilitySets { .. } => "root in a container is root without the dangerous parts",
            Step::AmbientSet { .. } => "these survive the exec of a user who is not root",
            Step::Umask { .. } => "new files get the usual permissions whatever our caller's were",
            Step::ClearParentDeathSignal => "the container goes on when its starter does not",
            Step::ResetSignals => "ignored and blocked signals are inherited through exec",
            Step::CloseOnExec { .. } => "no descriptor of the host reaches the program",
        }
    }

    pub fn undo(&self) -> Option<Undo> {
        None
    }
}

impl Undo {
    pub fn shell(&self) -> Shell {
        match *self {}
    }
}

/// `,+chown,+kill`
fn plus(caps: Caps) -> String {
    caps.names().iter().map(|name| format!(",+{}", name["CAP_".len()..].to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::rlimits::DEFAULT;

    #[test]
    fn each_step_is_a_line_of_bash_or_says_what_no_tool_can() {
        for (step, want) in [
            (Step::Rlimit(DEFAULT[0]), "prlimit --pid $$ --nofile=1024:524288"),
            (Step::Umask { mask: 0o22 }, "umask 0022"),
            (Step::AppArmorOnExec { profile: "a b".into() }, "echo 'exec a b' > /proc/self/attr/apparmor/exec"),
            (
                Step::BoundingSet { keep: Caps(0b100_001) },
                "# no shell tool: the bounding set is cut (prctl(2), as setpriv --bounding-set -all,+chown,+kill has it)",
            ),
        ] {
            assert_eq!(step.shell().to_string(), want);
            assert!(!step.why().ends_with('.'));
        }
    }
}
