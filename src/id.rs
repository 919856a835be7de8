//! Names and ids, checked when they are made, so that nobody below has to look again.
//! Pure: nothing here touches the system.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A string newtype that is parsed by `TryFrom<String>`, shown as it is, and (de)serialised with the same check.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: &str) -> Result<$name> {
                $name::try_from(text.to_owned())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

checked_string!(
    /// A container's id: 64 lower-case hex digits for ours, runc's alphabet for ids given by an engine.
    ContainerId
);

impl TryFrom<String> for ContainerId {
    type Error = Error;
    /// runc's rule (libcontainer/factory_linux.go): `[A-Za-z0-9_+.-]+`, not `.` or `..`, at most 1024 bytes.
    fn try_from(text: String) -> Result<ContainerId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
        if text.is_empty() || text.len() > 1024 || text == "." || text == ".." || !text.bytes().all(allowed) {
            return Err(Error::user(format!("invalid container id {text:?}"))
                .hint("an id consists of letters, digits, `_`, `+`, `.` and `-`"));
        }
        Ok(ContainerId(text))
    }
}

impl ContainerId {
    /// The first 12 digits, as people see it.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(12)]
    }

    /// 10 hex digits that name this container's links and groups: a hash of the state root and the id,
    /// for two engines may use one id under different roots.
    pub fn tag(&self, state_root: &str) -> String {
        hex(&Sha256::digest(format!("{state_root}\0{}", self.0).as_bytes()))[..10].to_owned()
    }
}

checked_string!(
    /// A container's, network's or volume's name, as docker has it.
    Name
);

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Name> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !first_ok || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(Error::user(format!("invalid name {text:?}")).hint(
                "a name begins with a letter or digit and goes on with letters, digits, `_`, `.` and `-`, 128 at most",
            ));
        }
        Ok(Name(text))
    }
}

checked_string!(
    /// The digest of a blob: `sha256:` and 64 lower-case hex digits (OCI image-spec, descriptor.md).
    Digest
);

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Digest> {
        let hex_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.split_once(':') {
            Some(("sha256", digits)) if digits.len() == 64 && digits.bytes().all(hex_digit) => Ok(Digest(text)),
            Some((algorithm, _)) if algorithm != "sha256" => {
                Err(Error::image(format!("digest {text:?} is not sha256")).hint("minirun reads sha256 digests"))
            }
            _ => Err(Error::image(format!("malformed digest {text:?}"))),
        }
    }
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_sha256(Sha256::digest(bytes).into())
    }
    pub fn from_sha256(hash: [u8; 32]) -> Digest {
        Digest(format!("sha256:{}", hex(&hash)))
    }
    /// The 64 hex digits.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
    /// The first 12 hex digits, as people see it.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

checked_string!(
    /// A network interface's name: 1 to 15 bytes, no slash, no blank, not `.` or `..` (net/core/dev.c, dev_valid_name).
    IfName
);

impl TryFrom<String> for IfName {
    type Error = Error;
    fn try_from(text: String) -> Result<IfName> {
        let bad = |b: u8| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0;
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.bytes().any(bad) {
            return Err(
                Error::user(format!("invalid interface name {text:?}")).hint("1 to 15 bytes, no slash, colon or blank")
            );
        }
        Ok(IfName(text))
    }
}

checked_string!(
    /// An absolute path on the host. UTF-8, for plans and records are JSON.
    HostPath
);

checked_string!(
    /// An absolute path as the container sees it; to be resolved inside its root and nowhere else.
    ContainerPath
);

fn absolute(what: &str, text: &str) -> Result<()> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err(Error::user(format!("{what} {text:?} is not an absolute path")));
    }
    Ok(())
}

impl TryFrom<String> for HostPath {
    type Error = Error;
    fn try_from(text: String) -> Result<HostPath> {
        absolute("host path", &text)?;
        Ok(HostPath(text))
    }
}

impl TryFrom<String> for ContainerPath {
    type Error = Error;
    fn try_from(text: String) -> Result<ContainerPath> {
        absolute("container path", &text)?;
        Ok(ContainerPath(text))
    }
}

impl HostPath {
    /// The path of an entry of our own below this one; `relative` is ours, never an image's.
    #[must_use]
    pub fn child(&self, relative: &str) -> HostPath {
        HostPath(format!("{}/{}", self.0.trim_end_matches('/'), relative.trim_start_matches('/')))
    }
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }
}

/// Lower-case hex digits of these bytes.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The path without doubled slashes, `.` and `..`, absolute.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_keep_to_their_alphabet() {
        for bad in ["", ".", "..", "a/b", "a b", "ä"] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ContainerId::parse("_x+1.2-3").is_ok());
        assert!(Name::parse("-x").is_err());
        assert!(Name::parse(&"x".repeat(129)).is_err());
    }

    #[test]
    fn a_tag_depends_on_the_state_root() {
        let id = ContainerId::parse("web").unwrap();
        assert_ne!(id.tag("/run/a"), id.tag("/run/b"));
        assert_eq!(id.tag("/run/a").len(), 10);
    }

    #[test]
    fn digests_are_sha256_in_lower_case() {
        let empty = Digest::of(b"");
        assert_eq!(empty.short(), "e3b0c44298fc");
        assert!(Digest::parse(empty.as_str()).is_ok());
        assert!(Digest::parse(&empty.as_str().to_uppercase()).is_err());
        assert!(Digest::parse("sha512:00").is_err());
    }

    proptest::proptest! {
        /// Whatever is taken is a name of 64 hex digits that can stand in a path, and is shown as it was given.
        #[test]
        fn a_digest_is_nothing_but_its_digits(text in "(sha256:|sha512:|SHA256:|)[0-9a-fA-F./ ]{0,3}[0-9a-f]{60,66}[^a]?") {
            if let Ok(digest) = Digest::parse(&text) {
                assert_eq!(digest.as_str(), text);
                assert_eq!(digest.hex().len(), 64);
                assert!(digest.hex().bytes().all(|b| b"0123456789abcdef".contains(&b)));
            } else {
                let hex = text.strip_prefix("sha256:").unwrap_or_default();
                let good = hex.len() == 64 && hex.bytes().all(|b| b"0123456789abcdef".contains(&b));
                assert!(!good, "{text}");
            }
        }

        #[test]
        fn any_text_is_a_digest_or_refused(text in ".*") {
            assert!(Digest::parse(&text).is_ok_and(|digest| digest.as_str() == text) || Digest::parse(&text).is_err());
        }
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!(IfName::parse("mr-0123456789ab").is_ok());
        assert!(IfName::parse("mr-0123456789abc").is_err());
        assert!(IfName::parse("a/b").is_err());
    }
}
