//! `--device-read-bps /dev/sda:1mb` and its kin: limits of one block device. Pure: the device's numbers are facts.

use super::device::{DeviceKind, DeviceNode};
use super::{built, size};
use crate::error::{Error, Result};
use crate::id::HostPath;
use oci_spec::runtime::{LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What of a device is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    ReadBps,
    WriteBps,
    ReadIops,
    WriteIops,
    /// Its share of it when it is busy, 10 to 1000.
    Weight,
}

/// A limit of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    pub what: What,
    pub device: HostPath,
    /// Bytes or operations a second; a weight.
    pub value: u64,
}

/// docker's forms (docker/cli, opts/throttledevice.go, weightdevice.go): `/dev/sda:1mb`, `/dev/sda:1000`.
pub fn parse(flag: &str, what: What, text: &str) -> Result<DeviceLimit> {
    let (form, example) = match what {
        What::ReadBps | What::WriteBps => ("DEVICE:SIZE", "/dev/sda:1mb"),
        What::ReadIops | What::WriteIops => ("DEVICE:NUMBER", "/dev/sda:1000"),
        What::Weight => ("DEVICE:WEIGHT, 10 to 1000", "/dev/sda:200"),
    };
    let bad = || Error::user(format!("invalid {flag} {text:?}")).hint(format!("it is {form}, such as {example}"));
    let (device, value) = text.rsplit_once(':').ok_or_else(bad)?;
    let value = match what {
        What::ReadBps | What::WriteBps => size::parse(value).ok(),
        What::ReadIops | What::WriteIops => value.parse().ok(),
        What::Weight => value.parse().ok().filter(|weight| (10..=1000).contains(weight)),
    };
    let device = HostPath::parse(device).ok().filter(|device| device.as_str().starts_with("/dev/")).ok_or_else(bad)?;
    Ok(DeviceLimit { what, device, value: value.ok_or_else(bad)? })
}

/// The limits of one kind as OCI has them.
pub fn throttles(
    limits: &[DeviceLimit],
    what: What,
    nodes: &BTreeMap<String, Vec<DeviceNode>>,
) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let throttle = |limit: &DeviceLimit| {
        let (major, minor) = numbers(&limit.device, nodes)?;
        built(LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(limit.value).build())
    };
    let all: Vec<_> = limits.iter().filter(|limit| limit.what == what).map(throttle).collect::<Result<_>>()?;
    Ok((!all.is_empty()).then_some(all))
}

pub fn weights(
    limits: &[DeviceLimit],
    nodes: &BTreeMap<String, Vec<DeviceNode>>,
) -> Result<Option<Vec<LinuxWeightDevice>>> {
    let weight = |limit: &DeviceLimit| {
        let (major, minor) = numbers(&limit.device, nodes)?;
        let weight = u16::try_from(limit.value).map_err(|e| Error::internal(e.to_string()))?;
        built(LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build())
    };
    let all: Vec<_> = limits.iter().filter(|limit| limit.what == What::Weight).map(weight).collect::<Result<_>>()?;
    Ok((!all.is_empty()).then_some(all))
}

fn numbers(device: &HostPath, nodes: &BTreeMap<String, Vec<DeviceNode>>) -> Result<(i64, i64)> {
    let found = nodes.get(device.as_str()).map(Vec::as_slice).unwrap_or_default();
    match found {
        [node] if node.kind == DeviceKind::Block => Ok((node.major, node.minor)),
        _ => Err(Error::user(format!("{device} is no block device")).hint("`lsblk -p` lists those of this host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_devices_are_dockers() {
        for (what, text, want) in [
            (What::ReadBps, "/dev/sda:1mb", Some(1 << 20)),
            (What::WriteBps, "/dev/sda:512", Some(512)),
            (What::ReadIops, "/dev/sda:1000", Some(1000)),
            (What::Weight, "/dev/sda:200", Some(200)),
            (What::Weight, "/dev/sda:2000", None),
            (What::WriteIops, "/dev/sda:1k", None),
            (What::ReadBps, "/dev/sda", None),
            (What::ReadBps, "sda:1mb", None),
            (What::ReadBps, "/tmp/sda:1mb", None),
        ] {
            let got = parse("--device-x", what, text).ok().map(|limit| (limit.device.as_str().to_owned(), limit.value));
            assert_eq!(got, want.map(|value| ("/dev/sda".to_owned(), value)), "{text}");
        }
    }

    #[test]
    fn only_a_block_device_has_limits() {
        let node = |kind| DeviceNode {
            path: HostPath::parse("/dev/x").unwrap(),
            kind,
            major: 8,
            minor: 16,
            mode: 0o660,
            uid: 0,
            gid: 6,
        };
        let limits = [parse("--device-write-bps", What::WriteBps, "/dev/x:1k").unwrap()];
        let nodes = |kind| BTreeMap::from([("/dev/x".to_owned(), vec![node(kind)])]);
        let throttles = |nodes: &BTreeMap<_, _>| super::throttles(&limits, What::WriteBps, nodes);
        let all = throttles(&nodes(DeviceKind::Block)).unwrap().unwrap();
        assert_eq!((all[0].major(), all[0].minor(), all[0].rate()), (8, 16, 1024));
        assert!(throttles(&nodes(DeviceKind::Char)).is_err());
        assert!(throttles(&BTreeMap::new()).is_err());
    }
}
