//! `--ulimit nofile=1024:524288`: docker's names and rules. Pure text to data.

use crate::error::{Error, Result};
use oci_spec::runtime::PosixRlimitType;
use serde::{Deserialize, Serialize};

/// One resource limit; `u64::MAX` is unlimited (RLIM_INFINITY).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub kind: PosixRlimitType,
    pub soft: u64,
    pub hard: u64,
}

/// docker's names (docker/go-units, ulimit.go): getrlimit(2)'s without RLIMIT_, and no `as`.
const NAMES: [(&str, PosixRlimitType); 15] = [
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

/// All of them.
pub fn names() -> [&'static str; 15] {
    NAMES.map(|(name, _)| name)
}

/// `name=soft[:hard]`; one number is both, -1 is unlimited, soft is at most hard.
pub fn parse(text: &str) -> Result<Ulimit> {
    let names = names().join(", ");
    let bad = |why: &str| {
        Error::user(format!("invalid ulimit {text:?}: {why}"))
            .hint(format!("--ulimit NAME=SOFT[:HARD]; the names are {names}"))
    };
    let (name, limits) = text.split_once('=').ok_or_else(|| bad("it is name=soft[:hard]"))?;
    let Some(&(_, kind)) = NAMES.iter().find(|(known, _)| *known == name) else {
        return Err(bad("no such limit"));
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |s: &str| if s == "-1" { Some(u64::MAX) } else { s.parse().ok().filter(|_| !s.starts_with('+')) };
    let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
        return Err(bad("a limit is a number, or -1 for none"));
    };
    if soft > hard {
        return Err(bad("the soft limit is above the hard limit"));
    }
    Ok(Ulimit { kind, soft, hard })
}

/// The name people use for it: `nofile`.
pub fn name(kind: PosixRlimitType) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == kind).map_or("as", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_dockers() {
        let nofile = |soft, hard| Some(Ulimit { kind: PosixRlimitType::RlimitNofile, soft, hard });
        for (text, want) in [
            ("nofile=1024", nofile(1024, 1024)),
            ("nofile=1024:2048", nofile(1024, 2048)),
            ("nofile=-1", nofile(u64::MAX, u64::MAX)),
            ("nofile=5:-1", nofile(5, u64::MAX)),
            ("core=0", Some(Ulimit { kind: PosixRlimitType::RlimitCore, soft: 0, hard: 0 })),
            ("nofile=2:1", None),
            ("nofile=-1:5", None),
            ("nofile=", None),
            ("nofile", None),
            ("nofile=1:2:3", None),
            ("nofile=-2", None),
            ("nofile=+1", None),
            ("NOFILE=1", None),
            ("as=1", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn an_unknown_limit_lists_the_known_ones() {
        assert!(parse("files=1").unwrap_err().hint.unwrap().contains("nofile"));
    }
}
