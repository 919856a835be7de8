//! One more process in a container that runs: the first one's, but for what was asked for. Pure.

use super::{env, security, user};
use crate::error::{Error, Result};
use crate::id::Name;
use oci_spec::runtime::{Capabilities, Process, Spec};
use std::collections::BTreeSet;

/// One `minirun exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Name or id, as given.
    pub container: String,
    pub command: Vec<String>,
    pub interactive: bool,
    pub tty: bool,
    pub detach: bool,
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub privileged: bool,
    /// As given: `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

/// The process to start. `passwd` and `group` are the container's own, as they are now; `available` are the capabilities
/// that there are to give.
pub fn process(
    spec: &Spec,
    name: &Name,
    request: &ExecRequest,
    passwd: Option<&str>,
    group: Option<&str>,
    available: &BTreeSet<String>,
) -> Result<Process> {
    let first = spec.process().as_ref();
    let mut process = first.cloned().ok_or_else(|| Error::internal(format!("container {name} has no process")))?;
    if request.command.is_empty() {
        return Err(Error::user("no command to execute").hint(format!("minirun exec {name} COMMAND")));
    }
    let mut environment = process.env().clone().unwrap_or_default();
    if request.tty {
        env::merge(&mut environment, &["TERM=xterm".to_owned()]);
    }
    if let Some(wanted) = &request.user {
        let resolved = user::resolve(wanted, passwd, group, &[])?;
        if let Some(home) = &resolved.home {
            env::merge(&mut environment, &[format!("HOME={home}")]);
        }
        let mut user = process.user().clone();
        user.set_uid(resolved.uid).set_gid(resolved.gid).set_additional_gids(Some(resolved.additional_gids));
        process.set_user(user);
    }
    env::merge(&mut environment, &request.env);
    process.set_args(Some(request.command.clone())).set_env(Some(environment)).set_terminal(Some(request.tty));
    if let Some(workdir) = &request.workdir {
        process.set_cwd(workdir.into());
    }
    let root = process.user().uid() == 0;
    if let Some(mut capabilities) = process.capabilities().clone() {
        if request.privileged {
            capabilities.set_bounding(Some(security::oci_set(available)?));
        }
        let held = if root { capabilities.bounding().clone() } else { Some(Capabilities::new()) };
        capabilities.set_effective(held.clone()).set_permitted(held);
        process.set_capabilities(Some(capabilities));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_is_as_confined_as_the_first_process() {
        let config = serde_json::json!({ "ociVersion": "1.0.2", "process": {
            "cwd": "/srv", "args": ["httpd"], "env": ["PATH=/bin", "A=1"], "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"] },
        } });
        let spec: Spec = serde_json::from_value(config).unwrap();
        let name = Name::parse("web").unwrap();
        let request = ExecRequest {
            command: vec!["id".into()],
            env: vec!["A=2".into()],
            user: Some("nobody".into()),
            ..ExecRequest::default()
        };
        let passwd = "nobody:x:65534:65534::/nowhere:/bin/false\n";
        let all = ["CAP_CHOWN", "CAP_SYS_ADMIN"].map(str::to_owned).into();
        let process = |request: &ExecRequest| process(&spec, &name, request, Some(passwd), None, &all).unwrap();
        let command = vec!["id".to_owned()];
        let privileged = process(&ExecRequest { command, privileged: true, ..ExecRequest::default() });
        let capabilities = privileged.capabilities().clone().unwrap();
        assert_eq!(capabilities.bounding(), capabilities.effective());
        assert_eq!(capabilities.effective().as_ref().unwrap().len(), 2);
        let process = process(&request);
        assert_eq!(process.env().as_deref().unwrap(), ["PATH=/bin", "A=2", "HOME=/nowhere"]);
        assert_eq!((process.user().uid(), process.cwd().to_str()), (65534, Some("/srv")));
        let capabilities = process.capabilities().clone().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
        assert!(capabilities.effective().as_ref().unwrap().is_empty());
    }
}
