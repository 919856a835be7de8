//! `generate systemd`: units that let systemd start and stop containers. They are text, nothing is written or asked of
//! systemd. Text of a unit: systemd.unit(5), systemd.service(5).

use super::container;
use crate::error::Result;
use crate::facts;
use crate::id::HostPath;
use crate::state::Roots;
use crate::state::roots::{DEFAULT_ROOT, DEFAULT_STATE};

/// How long `stop` waits where nobody has said, in seconds; docker's.
const STOP_SECONDS: i64 = 10;
/// What stopping takes besides that: killing, and taking back network and mounts.
const STOP_MARGIN: i64 = 30;

/// A unit's name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `container-web.service`
    pub file: String,
    pub text: String,
}

/// A unit for one container, which must exist. `seconds` is how long stopping may take before it is killed; else as the
/// container has it.
pub fn for_container(roots: &Roots, word: &str, seconds: Option<i64>) -> Result<Unit> {
    let found = container::look_up(roots, word)?;
    let config = found.config.as_ref();
    let name = config.map_or_else(|| found.id.to_string(), |config| config.name.to_string());
    let seconds = seconds.or(config.and_then(|config| config.stop_timeout));
    Ok(Unit {
        file: format!("container-{name}.service"),
        text: container_unit(&minirun(roots, &facts::program()?), &mounts(roots), &name, seconds),
    })
}

/// One unit for all containers that a reboot shall not end.
pub fn for_boot(roots: &Roots) -> Result<Unit> {
    let text = boot_unit(&minirun(roots, &facts::program()?), &mounts(roots));
    Ok(Unit { file: "minirun.service".to_owned(), text })
}

/// Why the container's unit is as it is:
/// * Type=oneshot with RemainAfterExit. `minirun start` returns once the program runs; what goes on, the monitor and
///   the container, lives in cgroups of its own (/minirun/…), not in the unit's. Type=forking would look for a main
///   process in the unit's cgroup and find none; a process that stands there and waits (`start --attach`) would be one
///   more for each container, and its death would be taken for the container's.
/// * No Restart. The container's own --restart does that, by the monitor, which sees the exit code; systemd sees none.
/// * No KillMode: the default reaches a `minirun start` or `stop` that hangs, and nothing else is in the unit's cgroup.
/// * `stop` gives the container its time, so systemd waits a little longer than that; starting may take as long as it
///   takes, which is oneshot's default.
fn container_unit(minirun: &str, mounts: &str, name: &str, seconds: Option<i64>) -> String {
    let limit = match seconds.unwrap_or(STOP_SECONDS) {
        ..0 => "infinity".to_owned(),
        seconds => seconds.saturating_add(STOP_MARGIN).to_string(),
    };
    let time = seconds.map(|seconds| format!(" --time={seconds}")).unwrap_or_default();
    let name = word(name);
    format!(
        "\
# container-{name}.service, from minirun generate systemd
[Unit]
Description=minirun container {name}
Documentation=man:minirun-generate(1)
RequiresMountsFor={mounts}
Wants=network-online.target
After=network-online.target

[Service]
# The container and its monitor live in cgroups of their own: there is no main process here. When the container ends
# is the monitor's affair, and so is starting it again: minirun update --restart=… {name}
Type=oneshot
RemainAfterExit=yes
ExecStart={minirun} start {name}
ExecStop={minirun} stop{time} {name}
TimeoutStopSec={limit}

[Install]
WantedBy=multi-user.target
"
    )
}

fn boot_unit(minirun: &str, mounts: &str) -> String {
    BOOT.replace("MINIRUN", minirun).replace("MOUNTS", mounts)
}

const BOOT: &str = "\
# minirun.service, from minirun generate systemd --boot
[Unit]
Description=minirun containers that a reboot does not end
Documentation=man:minirun-start(1)
RequiresMountsFor=MOUNTS
Wants=network-online.target
After=network-online.target

[Service]
# Starts what --restart wants to run. There is no ExecStop: a container that was stopped by name would not be started
# again where its policy is unless-stopped. What runs at shutdown gets SIGTERM from systemd, as everything else does.
Type=oneshot
RemainAfterExit=yes
ExecStart=MINIRUN start --restart-policy

[Install]
WantedBy=multi-user.target
";

/// The program as a unit calls it, with its roots where they are not the usual ones.
fn minirun(roots: &Roots, program: &HostPath) -> String {
    let mut words = vec![word(program.as_str())];
    for (flag, dir, usual) in [("--root", &roots.root, DEFAULT_ROOT), ("--state", &roots.state, DEFAULT_STATE)] {
        if dir.as_str() != usual {
            words.push(word(&format!("{flag}={dir}")));
        }
    }
    words.join(" ")
}

fn mounts(roots: &Roots) -> String {
    word(roots.root.as_str())
}

/// A word of a command line in a unit: `%` and `$` stand for something there, blanks end it (systemd.service(5)).
fn word(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$").replace('\\', "\\\\").replace('"', "\\\"");
    if text.contains([' ', '\t', '\'', ';']) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(root: &str) -> Roots {
        let path = |text: &str| HostPath::parse(text).unwrap();
        Roots {
            root: path(root),
            state: path(DEFAULT_STATE),
            config: path("/none"),
            logins: Vec::new(),
            proxies: Default::default(),
        }
    }

    #[test]
    fn a_unit_says_what_is_typed() {
        let program = HostPath::parse("/usr/local/bin/minirun").unwrap();
        let minirun = minirun(&roots(DEFAULT_ROOT), &program);
        for (seconds, stop, limit) in [
            (None, "stop web", "40"),
            (Some(60), "stop --time=60 web", "90"),
            (Some(-1), "stop --time=-1 web", "infinity"),
        ] {
            let text = container_unit(&minirun, DEFAULT_ROOT, "web", seconds);
            for line in [
                "ExecStart=/usr/local/bin/minirun start web".to_owned(),
                format!("ExecStop=/usr/local/bin/minirun {stop}"),
                format!("TimeoutStopSec={limit}"),
                "RequiresMountsFor=/var/lib/minirun".to_owned(),
            ] {
                assert!(text.lines().any(|known| known == line), "{line}: {text}");
            }
        }
    }

    #[test]
    fn roots_that_are_not_the_usual_ones_are_named_and_quoted() {
        let roots = roots("/srv/my data/100%");
        let boot = boot_unit(&minirun(&roots, &HostPath::parse("/opt/m").unwrap()), &mounts(&roots));
        let start = "ExecStart=/opt/m \"--root=/srv/my data/100%%\" start --restart-policy";
        assert!(boot.lines().any(|line| line == start), "{boot}");
        assert!(boot.contains("RequiresMountsFor=\"/srv/my data/100%%\"\n"), "{boot}");
    }
}
