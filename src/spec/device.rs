//! `--device HOST[:CONTAINER[:PERMISSIONS]]`, and the nodes and rules it becomes. Pure: the node's numbers are facts.

use crate::error::{Error, Result};
use crate::id::{ContainerPath, HostPath};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};

/// A device, or a directory of devices, that the container shall have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    pub host: HostPath,
    pub container: ContainerPath,
    /// Some of `r`, `w` and `m`, each once.
    pub access: String,
}

/// `--device-cgroup-rule`: devices by type and number, that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b` or `c`.
    pub kind: char,
    /// `None` for all.
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub access: String,
}

/// A device node of the host, as stat(2) shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    pub path: HostPath,
    pub kind: DeviceKind,
    pub major: i64,
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    Block,
    Char,
}

/// docker's forms (docker/cli, opts.go, parseLinuxDevice): `/dev/x`, `/dev/x:rw`, `/dev/x:/dev/y`, `/dev/x:/dev/y:r`.
pub fn parse(text: &str) -> Result<DeviceRequest> {
    let bad = || {
        Error::user(format!("invalid device {text:?}"))
            .hint("--device takes /dev/x[:/dev/y[:rwm]]; permissions are some of r, w and m")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        _ => return Err(bad()),
    };
    if host.contains("..") || container.contains("..") {
        return Err(bad());
    }
    Ok(DeviceRequest {
        host: HostPath::parse(host).map_err(|_| bad())?,
        container: ContainerPath::parse(container).map_err(|_| bad())?,
        access: access.to_owned(),
    })
}

/// docker's form, the kernel's own (cgroup-v1/devices.rst): `c 189:* rwm`.
pub fn parse_rule(text: &str) -> Result<DeviceRule> {
    let bad = || {
        Error::user(format!("invalid --device-cgroup-rule {text:?}"))
            .hint("it is a type (a, b or c), numbers or * and what is allowed: 'c 189:* rwm'")
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| bad()),
    };
    let words: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words[..] else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    if !is_access(access) {
        return Err(bad());
    }
    let kind = kind.chars().next().ok_or_else(bad)?;
    Ok(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access: access.to_owned() })
}

fn is_access(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() == 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && once(c))
}

/// The node inside and the rule that lets it be used, for each node that the request names (several for a directory).
pub fn grant(request: &DeviceRequest, nodes: &[DeviceNode]) -> Result<Vec<(LinuxDevice, LinuxDeviceCgroup)>> {
    if nodes.is_empty() {
        return Err(Error::user(format!("no device at {}", request.host))
            .hint("--device names a device node of this host, or a directory of them"));
    }
    let grant_one = |node: &DeviceNode| {
        let below = node.path.as_str().strip_prefix(request.host.as_str()).unwrap_or("");
        let path = format!("{}{below}", request.container.as_str().trim_end_matches('/'));
        (oci_device(node, &path), oci_rule(node, &request.access))
    };
    Ok(nodes.iter().map(grant_one).collect())
}

/// The node as OCI has it, at `path`.
pub(super) fn oci_device(node: &DeviceNode, path: &str) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(path.into())
        .set_typ(oci_type(node.kind))
        .set_major(node.major)
        .set_minor(node.minor)
        .set_file_mode(Some(node.mode & 0o7777))
        .set_uid(Some(node.uid))
        .set_gid(Some(node.gid));
    device
}

fn oci_rule(node: &DeviceNode, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(oci_type(node.kind)))
        .set_major(Some(node.major))
        .set_minor(Some(node.minor))
        .set_access(Some(access.to_owned()));
    rule
}

fn oci_type(kind: DeviceKind) -> LinuxDeviceType {
    match kind {
        DeviceKind::Block => LinuxDeviceType::B,
        DeviceKind::Char => LinuxDeviceType::C,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_dockers() {
        for (text, want) in [
            ("/dev/fuse", Some(("/dev/fuse", "/dev/fuse", "rwm"))),
            ("/dev/fuse:rw", Some(("/dev/fuse", "/dev/fuse", "rw"))),
            ("/dev/sda:/dev/xvdc", Some(("/dev/sda", "/dev/xvdc", "rwm"))),
            ("/dev/sda:/dev/xvdc:r", Some(("/dev/sda", "/dev/xvdc", "r"))),
            ("/dev/sda:/dev/xvdc:x", None),
            ("/dev/sda:/dev/xvdc:rr", None),
            ("/dev/sda:/dev/xvdc:r:w", None),
            ("/dev/../etc/shadow", None),
            ("fuse", None),
            ("", None),
        ] {
            let got = parse(text).ok();
            let got = got.as_ref().map(|d| (d.host.as_str(), d.container.as_str(), d.access.as_str()));
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn rules_are_the_kernels() {
        let rule = |kind, major, minor, access: &str| DeviceRule { kind, major, minor, access: access.to_owned() };
        for (text, want) in [
            ("c 189:* rwm", Some(rule('c', Some(189), None, "rwm"))),
            ("b 8:16 r", Some(rule('b', Some(8), Some(16), "r"))),
            ("a *:* rwm", Some(rule('a', None, None, "rwm"))),
            ("d 8:16 r", None),
            ("c 8 r", None),
            ("c 8:16 x", None),
            ("c 8:-1 r", None),
            ("c  8:16 r", None),
            ("", None),
        ] {
            assert_eq!(parse_rule(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn a_directory_becomes_its_nodes() {
        let node = |path: &str, minor| DeviceNode {
            path: HostPath::parse(path).unwrap(),
            kind: DeviceKind::Char,
            major: 116,
            minor,
            mode: 0o660,
            uid: 0,
            gid: 29,
        };
        let nodes = [node("/dev/snd/seq", 1), node("/dev/snd/by/timer", 33)];
        let granted = grant(&parse("/dev/snd:/dev/sound:r").unwrap(), &nodes).unwrap();
        let paths: Vec<_> = granted.iter().map(|(device, _)| device.path().to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/sound/seq", "/dev/sound/by/timer"]);
        assert_eq!(granted[1].1.to_string(), "c 116:33 r");
        assert!(grant(&parse("/dev/none").unwrap(), &[]).is_err());
    }
}
