//! Sets of capabilities (capabilities(7)): names, docker's default made smaller, `--cap-add` and `--cap-drop`. Pure.

use crate::error::{Error, Result};
use caps::Capability;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set, as the kernel's bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Caps(pub u64);

/// 800405fb: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP. Docker's
/// also has NET_RAW, MKNOD and AUDIT_WRITE; ping and low ports need none here (see `default_sysctls`).
pub const DEFAULT: Caps = Caps(0x8004_05fb);

impl Caps {
    pub const NONE: Caps = Caps(0);

    /// Every capability that these crates and kernels know by name.
    pub fn all() -> Caps {
        caps::all().into_iter().collect()
    }
    pub fn has(self, cap: Capability) -> bool {
        self.0 & cap.bitmask() != 0
    }
    #[must_use]
    pub fn and(self, other: Caps) -> Caps {
        Caps(self.0 & other.0)
    }
    #[must_use]
    pub fn or(self, other: Caps) -> Caps {
        Caps(self.0 | other.0)
    }
    #[must_use]
    pub fn without(self, other: Caps) -> Caps {
        Caps(self.0 & !other.0)
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// In the kernel's order.
    pub fn list(self) -> Vec<Capability> {
        let mut list: Vec<Capability> = caps::all().into_iter().filter(|cap| self.has(*cap)).collect();
        list.sort_by_key(Capability::index);
        list
    }
    /// `CAP_CHOWN` and so on.
    pub fn names(self) -> Vec<String> {
        self.list().iter().map(ToString::to_string).collect()
    }
}

impl FromIterator<Capability> for Caps {
    fn from_iter<I: IntoIterator<Item = Capability>>(caps: I) -> Caps {
        Caps(caps.into_iter().fold(0, |bits, cap| bits | cap.bitmask()))
    }
}

/// `chown,kill`, the way setpriv(1) has it; `none` for the empty set.
impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<String> = self.names().iter().map(|n| n["CAP_".len()..].to_lowercase()).collect();
        f.write_str(&names.join(","))
    }
}

impl From<Caps> for Vec<String> {
    fn from(caps: Caps) -> Vec<String> {
        caps.names()
    }
}

impl TryFrom<Vec<String>> for Caps {
    type Error = Error;
    fn try_from(names: Vec<String>) -> Result<Caps> {
        names.iter().map(|name| parse(name)).collect()
    }
}

/// With or without `CAP_`, in upper or lower case.
pub fn parse(name: &str) -> Result<Capability> {
    caps::to_canonical(name).parse().map_err(|_| {
        Error::user(format!("unknown capability {name:?}")).hint("a name of capabilities(7), such as NET_ADMIN, or ALL")
    })
}

/// `--cap-add` and `--cap-drop` as docker has them: ALL added is everything but what is dropped; ALL dropped is only
/// what is added; else the default without the dropped and with the added, so that adding wins.
pub fn adjust(add: &[String], drop: &[String]) -> Result<Caps> {
    let is_all = |name: &&String| name.eq_ignore_ascii_case("all");
    let named = |names: &[String]| -> Result<Caps> { names.iter().filter(|n| !is_all(n)).map(|n| parse(n)).collect() };
    let (added, dropped) = (named(add)?, named(drop)?);
    Ok(match (add.iter().any(|n| is_all(&n)), drop.iter().any(|n| is_all(&n))) {
        (true, _) => Caps::all().without(dropped),
        (false, true) => added,
        (false, false) => DEFAULT.without(dropped).or(added),
    })
}

/// A set of a bundle's config.json.
pub(super) fn from_oci(set: Option<&oci_spec::runtime::Capabilities>) -> Result<Caps> {
    set.into_iter().flatten().map(|cap| parse(&cap.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_one_that_is_promised() {
        let names = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,sys_chroot,setfcap";
        assert_eq!(DEFAULT.to_string(), names);
        assert_eq!(Caps::NONE.to_string(), "none");
    }

    #[test]
    fn adding_and_dropping_as_docker_does() {
        let of = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let net_admin = Capability::CAP_NET_ADMIN;
        for (add, drop, want) in [
            (vec![], vec![], DEFAULT),
            (of(&["net_admin"]), vec![], DEFAULT.or([net_admin].into_iter().collect())),
            (of(&["CAP_NET_ADMIN"]), of(&["ALL"]), [net_admin].into_iter().collect()),
            (vec![], of(&["all"]), Caps::NONE),
            (of(&["ALL"]), of(&["Cap_Net_Admin"]), Caps::all().without([net_admin].into_iter().collect())),
            (of(&["CHOWN"]), of(&["CHOWN"]), DEFAULT),
        ] {
            assert_eq!(adjust(&add, &drop).unwrap(), want, "{add:?} {drop:?}");
        }
        assert!(adjust(&of(&["NO_SUCH"]), &[]).is_err());
    }

    #[test]
    fn a_set_is_names_in_json() {
        let json = serde_json::to_string(&Caps(0b11)).unwrap();
        assert_eq!(json, r#"["CAP_CHOWN","CAP_DAC_OVERRIDE"]"#);
        assert_eq!(serde_json::from_str::<Caps>(&json).unwrap(), Caps(0b11));
    }

    #[test]
    fn every_capability_of_the_specification_is_known() {
        let json = r#"["CAP_SYS_ADMIN","CAP_CHECKPOINT_RESTORE","CAP_BPF","CAP_PERFMON","CAP_AUDIT_READ"]"#;
        let set: oci_spec::runtime::Capabilities = serde_json::from_str(json).unwrap();
        assert_eq!(from_oci(Some(&set)).unwrap().list().len(), 5);
    }
}
