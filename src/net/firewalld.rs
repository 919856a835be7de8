//! firewalld, which rejects what comes from a link of none of its zones: our bridges are put into `trusted`. That is asked
//! of it over D-Bus and holds until it is reloaded; nothing of its configuration is changed.

use super::others::Firewalld;
use crate::error::{Errno, Error, Result};
use crate::id::IfName;
use crate::sys::dbus::{self, Answer, Call};
use crate::sys::fs;
use std::path::Path;
use std::time::Duration;

/// The zone whose target is ACCEPT.
pub const TRUSTED: &str = "trusted";

const BUS: &str = "/run/dbus/system_bus_socket";
const CONFIGURATION: &str = "/etc/firewalld/firewalld.conf";
/// It answers in 2 to 5 ms, and while it reloads a hundred zones not at all.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Which of these bridges are in its zone `trusted`; `None` where it does not run. It may take so long for each answer.
pub fn facts(bridges: &[&IfName], patience: Duration) -> Result<Option<Firewalld>> {
    let mut trusted = Vec::new();
    for bridge in bridges {
        match ask("getZoneOfInterface", &[bridge.as_str()], patience)? {
            None => return Ok(None),
            Some(Answer::Reply(zone)) if zone == TRUSTED => trusted.push((*bridge).clone()),
            Some(Answer::Reply(_)) => {}
            Some(Answer::Error(_, text)) => return Err(refused(bridge, &text)),
        }
    }
    let text = fs::read_text(Path::new(CONFIGURATION)).unwrap_or_default();
    Ok(Some(Firewalld { trusted, strict: is_strict(&text) }))
}

/// It rules the network namespace of process 1, which has started it; the bus is heard in others, too.
fn rules_here() -> bool {
    let id =
        |process: &str| fs::stat(Path::new(&format!("/proc/{process}/ns/net"))).map(|stat| (stat.st_dev, stat.st_ino));
    match (id("1"), id("thread-self")) {
        (Ok(its), Ok(ours)) => its == ours,
        _ => true,
    }
}

/// A bridge that is in another zone leaves that.
pub(super) fn trust(bridge: &IfName) -> Result<()> {
    match ask("changeZoneOfInterface", &[TRUSTED, bridge.as_str()], PATIENCE)? {
        Some(Answer::Error(_, text)) => Err(refused(bridge, &text)),
        Some(Answer::Reply(_)) | None => Ok(()), // what does not run rejects nothing
    }
}

/// One that is in no zone, or has been moved to another, is left there.
pub(super) fn forget(bridge: &IfName) -> Result<()> {
    match ask("removeInterface", &[TRUSTED, bridge.as_str()], PATIENCE)? {
        Some(Answer::Error(_, text)) if !LEFT.iter().any(|left| text.starts_with(left)) => Err(refused(bridge, &text)),
        _ => Ok(()),
    }
}

/// firewall/errors.py
const LEFT: [&str; 3] = ["UNKNOWN_INTERFACE", "ZONE_CONFLICT", "NOT_ENABLED"];

fn refused(bridge: &IfName, text: &str) -> Error {
    Error::host(format!("firewalld refuses bridge {bridge}: {text}"))
        .hint(format!("firewall-cmd --zone={TRUSTED} --change-interface={bridge}"))
}

/// `None` where there is no bus, no firewalld on it, or one for another network namespace.
fn ask(member: &str, arguments: &[&str], patience: Duration) -> Result<Option<Answer>> {
    if !rules_here() {
        return Ok(None);
    }
    let call = Call {
        destination: "org.fedoraproject.FirewallD1",
        path: "/org/fedoraproject/FirewallD1",
        interface: "org.fedoraproject.FirewallD1.zone",
        member,
        arguments,
    };
    match dbus::call(Path::new(BUS), &call, patience) {
        Err(e) if [Errno::ENOENT, Errno::ECONNREFUSED].contains(&e.errno) => Ok(None),
        Err(e) => Err(Error::from(e).during("asking firewalld").hint("see `firewall-cmd --state`")),
        Ok(Answer::Error(name, _)) if ABSENT.contains(&name.as_str()) => Ok(None),
        Ok(answer) => Ok(Some(answer)),
    }
}

const ABSENT: [&str; 2] = ["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"];

/// `StrictForwardPorts=yes`, as firewalld reads it (firewall/core/io/firewalld_conf.py): the first one counts.
fn is_strict(text: &str) -> bool {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "StrictForwardPorts").then(|| value.trim().to_lowercase())
    });
    values.next().is_some_and(|value| ["yes", "true"].contains(&value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_whether_ports_are_its_own_affair() {
        for (text, strict) in [
            ("", false),
            ("DefaultZone=public\nStrictForwardPorts=no\n", false),
            ("StrictForwardPorts=yes\n", true),
            ("StrictForwardPorts = Yes", true),
            ("# StrictForwardPorts=yes\n", false),
            ("StrictForwardPorts=no\nStrictForwardPorts=yes", false),
        ] {
            assert_eq!(is_strict(text), strict, "{text}");
        }
    }
}
