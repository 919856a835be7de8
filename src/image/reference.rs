//! An image's name as docker has it: `alpine`, `localhost:5000/team/app:1.2`, `alpine@sha256:…`. Pure.
//! Grammar: github.com/distribution/reference, regexp.go and normalize.go.

use crate::error::{Error, Result};
use crate::id::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The registry of a name that has none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// The length of registry and repository together (distribution/reference, RepositoryNameTotalLengthMax).
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A full name: registry, repository, and a tag or a digest or both. Shown in full; see [`Reference::familiar`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// `docker.io`, `localhost:5000`, `[::1]:5000`
    pub registry: String,
    /// `library/alpine`
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// Completes a name as docker does: no registry is docker.io, one component there is `library/`, neither tag nor
    /// digest is `latest`.
    pub fn parse(text: &str) -> Result<Reference> {
        parse(text).ok_or_else(|| {
            Error::user(format!("invalid image name {text:?}"))
                .hint("a name is like alpine, alpine:3.20, host:5000/team/app:tag or alpine@sha256:…, in lower case")
        })
    }

    /// The repository that a text without tag and digest names; `None` where it has either.
    pub fn repository(text: &str) -> Result<Option<Reference>> {
        let mut reference = Reference::parse(text)?;
        let tag = reference.tag.take().unwrap_or_default();
        Ok(Some(reference).filter(|reference| reference.digest.is_none() && !text.ends_with(&format!(":{tag}"))))
    }

    /// Whether both are of one repository.
    pub fn is_beside(&self, other: &Reference) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }

    /// The short form that people type: without docker.io and library/.
    pub fn familiar(&self) -> String {
        let repository = self.familiar_repository();
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).fold(repository, |name, part| name + &part)
    }

    /// The short form without tag and digest, as the REPOSITORY column shows it.
    pub fn familiar_repository(&self) -> String {
        match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            (DEFAULT_REGISTRY, Some(official)) if !official.contains('/') => official.to_owned(),
            (DEFAULT_REGISTRY, _) if self.repository.contains('/') => self.repository.clone(),
            _ => format!("{}/{}", self.registry, self.repository),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Reference> {
        Reference::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

fn parse(text: &str) -> Option<Reference> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(Digest::parse(digest).ok()?)),
        None => (text, None),
    };
    // a colon before the last slash belongs to the port
    let (name, tag) = match rest.rfind(':') {
        Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    };
    if !tag.is_none_or(is_tag) || is_hex_id(name) {
        return None;
    }
    let (registry, repository) = match name.split_once('/') {
        Some((host, rest)) if looks_like_host(host) => (host, rest.to_owned()),
        _ => (DEFAULT_REGISTRY, name.to_owned()),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let repository = if official { format!("library/{repository}") } else { repository };
    if !is_host(registry) || !repository.split('/').all(is_component) || registry.len() + repository.len() >= MAX_NAME {
        return None;
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG),
        (tag, _) => tag,
    };
    Some(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// 64 hex digits are an image's id, never a name.
fn is_hex_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn looks_like_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (Err(address), None),
        Some((address, port)) => match port.strip_prefix(':') {
            Some(port) => (Err(address), Some(port)),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (Ok(name), Some(port)),
            None => (Ok(host), None),
        },
    };
    let label = |l: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !l.is_empty() && l.bytes().all(inside) && !l.starts_with('-') && !l.ends_with('-')
    };
    let name_ok = match name {
        Ok(name) => name.split('.').all(label),
        Err(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
    };
    name_ok && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok())
}

/// Letters and digits with single `.`, one or two `_`, or any number of `-` between.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators_ok = component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'));
    alphanumeric(*first) && alphanumeric(*last) && separators_ok
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.bytes().next().is_some_and(word)
        && tag.len() <= MAX_TAG
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        let digest = Digest::of(b"");
        let pinned = format!("alpine@{digest}");
        let both = format!("localhost/x:1@{digest}");
        for (text, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("team/app", "docker.io/team/app:latest", "team/app:latest"),
            ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("ghcr.io/a/b/c__d:x-y_z", "ghcr.io/a/b/c__d:x-y_z", "ghcr.io/a/b/c__d:x-y_z"),
            ("a---b/c.d", "docker.io/a---b/c.d:latest", "a---b/c.d:latest"),
            (&pinned, &format!("docker.io/library/{pinned}"), &pinned),
            (&both, &both, &both),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let id = "0".repeat(64);
        let long = "a".repeat(300);
        for text in [
            "",
            "Alpine",
            "a:",
            ":a",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a:b:c",
            "a b",
            "a:.x",
            "a@sha256:00",
            "a@",
            "../x",
            "host:99999/x",
            "a.b:/x",
            "[::1/x",
            "[zz]:1/x",
            &id,
            &long,
            "a\n",
            "ä",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn full_and_familiar_forms_parse_to_the_same(text in "([a-z0-9.:]{1,9}/)?[a-z0-9_.-]{1,9}(/[a-z0-9-]{1,5})?(:[A-Za-z0-9_.-]{1,9})?") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
            let _ = Reference::parse(&text);
        }
    }
}
