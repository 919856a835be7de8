//! `--sysctl KEY=VALUE`: only what a namespace of the container's own holds. Pure.

use super::request::{NamespaceMode, NetworkNamespace, RunRequest};
use crate::error::{Error, Result};
use oci_spec::runtime::Spec;
use std::collections::HashMap;

/// System V IPC settings live in the ipc namespace (ipc/ipc_sysctl.c).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Takes the `net.*` settings out of a specification, sorted, as paths below /proc/sys: the network sets them, for some
/// need its links first.
pub fn take_net(spec: &mut Spec) -> Vec<(String, String)> {
    let Some(mut linux) = spec.linux().clone() else { return Vec::new() };
    let all = linux.sysctl().clone().unwrap_or_default();
    let (net, rest): (HashMap<_, _>, HashMap<_, _>) = all.into_iter().partition(|(key, _)| key.starts_with("net."));
    linux.set_sysctl(Some(rest));
    spec.set_linux(Some(linux));
    let mut net: Vec<_> = net.into_iter().map(|(key, value)| (key.replace('.', "/"), value)).collect();
    net.sort();
    net
}

/// The key's alphabet keeps it from leaving /proc/sys: a dot is a slash there, so no empty part and no slash.
pub fn parse(text: &str) -> Result<(String, String)> {
    let bad = |why: &str| {
        Error::user(format!("invalid sysctl {text:?}: {why}"))
            .hint("a container has net.*, fs.mqueue.* and System V ipc")
    };
    let (key, value) = text.split_once('=').ok_or_else(|| bad("it is KEY=VALUE"))?;
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !key.split('.').all(part) {
        return Err(bad("a key is words with dots between, such as net.core.somaxconn"));
    }
    if !IPC.contains(&key) && !key.starts_with("net.") && !key.starts_with("fs.mqueue.") {
        return Err(bad("it belongs to the whole host"));
    }
    if value.contains('\0') || value.contains('\n') {
        return Err(bad("a value is one line"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Refuses a setting whose namespace is not the container's own: it would change the host or a neighbour.
pub(super) fn check_namespace(key: &str, request: &RunRequest) -> Result<()> {
    let (own, flag) = if key.starts_with("net.") {
        (request.network.namespace() == NetworkNamespace::Own, "--network")
    } else {
        (request.namespaces.ipc == NamespaceMode::Private, "--ipc")
    };
    if own {
        return Ok(());
    }
    Err(Error::user(format!("cannot set sysctl {key}: the container shares that namespace"))
        .hint(format!("leave out {flag}, or set it where the namespace comes from")))
}

/// In a network namespace of its own, ping and ports below 1024 need no capability. A user namespace has no
/// mapping for so many groups, and root in it has NET_RAW's uses anyway.
pub(super) fn defaults(request: &RunRequest, user_namespace: bool) -> Vec<(&'static str, &'static str)> {
    if request.network.namespace() != NetworkNamespace::Own {
        return Vec::new();
    }
    let mut settings = vec![("net.ipv4.ip_unprivileged_port_start", "0")];
    if !user_namespace {
        settings.push(("net.ipv4.ping_group_range", "0 2147483647"));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::request::Source;

    #[test]
    fn only_namespaced_settings_pass() {
        for (text, good) in [
            ("net.core.somaxconn=1024", true),
            ("net.ipv4.conf.all.rp_filter=", true),
            ("kernel.shmmax=1=2", true),
            ("fs.mqueue.msg_max=5", true),
            ("kernel.core_pattern=|/x", false),
            ("vm.overcommit_memory=1", false),
            ("net..core=1", false),
            ("net.core/../../kernel.core_pattern=x", false),
            ("net.core", false),
            ("net.core.x=1\n2", false),
            ("=1", false),
            ("", false),
        ] {
            assert_eq!(parse(text).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn a_shared_namespace_is_not_touched() {
        let mut request = RunRequest::new(Source::Image("x".into()));
        assert!(check_namespace("net.core.somaxconn", &request).is_ok());
        assert_eq!(defaults(&request, false).len(), 2);
        assert_eq!(defaults(&request, true).len(), 1);
        request.network.mode = Some("host".into());
        request.namespaces.ipc = NamespaceMode::Container("db".into());
        assert!(check_namespace("net.core.somaxconn", &request).is_err());
        assert!(check_namespace("kernel.shmmax", &request).is_err());
        assert!(defaults(&request, false).is_empty());
    }
}
