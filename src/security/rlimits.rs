//! Resource limits (getrlimit(2)): the default, and what is left of a wish that the host does not allow. Pure.

use super::plan::Facts;
use caps::Capability;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use serde::{Deserialize, Serialize};

/// One limit; `u64::MAX` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub resource: PosixRlimitType,
    pub soft: u64,
    pub hard: u64,
}

/// What `run` asks for where nothing is said: enough for servers, and a soft limit that select(2) survives.
pub const DEFAULT: [Rlimit; 1] = [Rlimit { resource: PosixRlimitType::RlimitNofile, soft: 1024, hard: 524_288 }];

/// The wish capped to what the kernel will give, with a warning for each cut: the hard limit needs CAP_SYS_RESOURCE
/// to be raised, and nofile cannot be above fs.nr_open even then.
pub(super) fn capped(wish: &PosixRlimit, facts: &Facts) -> (Rlimit, Option<String>) {
    let resource = wish.typ();
    let own = facts.rlimits.iter().find(|limit| limit.resource == resource).map(|limit| limit.hard);
    let ours = own.filter(|_| !facts.permitted.has(Capability::CAP_SYS_RESOURCE)).unwrap_or(u64::MAX);
    let kernel = if resource == PosixRlimitType::RlimitNofile { facts.nr_open } else { u64::MAX };
    let hard = wish.hard().min(ours).min(kernel);
    let soft = wish.soft().min(hard);
    let warning = (hard < wish.hard()).then(|| {
        let why = if kernel < ours { "fs.nr_open" } else { "our own hard limit; more needs CAP_SYS_RESOURCE" };
        format!("the limit {} is {hard} instead of {}: {why}", name(resource), text(wish.hard()))
    });
    (Rlimit { resource, soft, hard }, warning)
}

/// `nofile`, as prlimit(1) and `--ulimit` have it.
pub fn name(resource: PosixRlimitType) -> String {
    resource.to_string().trim_start_matches("RLIMIT_").to_lowercase()
}

/// The number, or prlimit(1)'s word for none.
pub(super) fn text(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::capabilities::Caps;

    #[test]
    fn a_limit_is_capped_where_we_may_not_raise_it() {
        let own = Rlimit { resource: PosixRlimitType::RlimitNofile, soft: 64, hard: 4096 };
        let poor = Facts { rlimits: vec![own], nr_open: 1 << 20, ..Facts::default() };
        let rich = Facts { permitted: Caps::all(), nr_open: 100_000, ..poor.clone() };
        for (facts, soft, hard, want, warned) in [
            (&poor, 1024, 524_288, (1024, 4096), true),
            (&poor, 1024, 2048, (1024, 2048), false),
            (&poor, u64::MAX, u64::MAX, (4096, 4096), true),
            (&rich, 1024, 524_288, (1024, 100_000), true),
            (&rich, 1024, 65_536, (1024, 65_536), false),
        ] {
            let json = format!(r#"{{"type":"RLIMIT_NOFILE","soft":{soft},"hard":{hard}}}"#);
            let (limit, warning) = capped(&serde_json::from_str(&json).unwrap(), facts);
            assert_eq!((limit.soft, limit.hard), want, "{soft}:{hard}");
            assert_eq!(warning.is_some(), warned, "{warning:?}");
        }
        assert_eq!(name(PosixRlimitType::RlimitNofile), "nofile");
    }
}
