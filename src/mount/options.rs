//! Mount options as words: which are attributes of the mount, which set propagation, which go to the file system.
//! Pure; the words are mount(8)'s and the runtime specification's (config.md, "Linux mount options").

use serde::{Deserialize, Serialize};

/// An attribute of one mount (mount_setattr(2), MOUNT_ATTR_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    Ro,
    Nosuid,
    Nodev,
    Noexec,
    Noatime,
    Nodiratime,
    Strictatime,
    Nosymfollow,
}

const ATTRIBUTES: [(&str, Attribute, u64); 8] = [
    ("ro", Attribute::Ro, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", Attribute::Nosuid, libc::MOUNT_ATTR_NOSUID),
    ("nodev", Attribute::Nodev, libc::MOUNT_ATTR_NODEV),
    ("noexec", Attribute::Noexec, libc::MOUNT_ATTR_NOEXEC),
    ("noatime", Attribute::Noatime, libc::MOUNT_ATTR_NOATIME),
    ("nodiratime", Attribute::Nodiratime, libc::MOUNT_ATTR_NODIRATIME),
    ("strictatime", Attribute::Strictatime, libc::MOUNT_ATTR_STRICTATIME),
    ("nosymfollow", Attribute::Nosymfollow, libc::MOUNT_ATTR_NOSYMFOLLOW),
];

impl Attribute {
    pub fn name(self) -> &'static str {
        // every variant stands in the table; a test holds it
        ATTRIBUTES.iter().find(|(_, attribute, _)| *attribute == self).map_or("", |(name, ..)| name)
    }

    /// The kernel's flags of these attributes together.
    pub fn bits(attributes: &[Attribute]) -> u64 {
        ATTRIBUTES.iter().filter(|(_, attribute, _)| attributes.contains(attribute)).fold(0, |all, (.., bit)| all | bit)
    }
}

/// How mount events travel between a mount and its copies (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    Private,
    Slave,
    Shared,
}

impl Propagation {
    pub fn bits(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Propagation::Private => "private",
            Propagation::Slave => "slave",
            Propagation::Shared => "shared",
        }
    }
}

/// A mount's options, sorted by what takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `bind` or `rbind` was among them.
    pub bind: bool,
    pub recursive: bool,
    pub attributes: Vec<Attribute>,
    /// The attributes hold for everything below too (`rro` and its like).
    pub recursive_attributes: bool,
    pub propagation: Option<Propagation>,
    /// What the file system itself understands, in the given order.
    pub data: Vec<String>,
}

/// Words that only undo another word, or say what is so anyway.
const NEUTRAL: [&str; 16] = [
    "defaults",
    "rw",
    "suid",
    "dev",
    "exec",
    "atime",
    "diratime",
    "relatime",
    "norelatime",
    "nostrictatime",
    "async",
    "nomand",
    "symfollow",
    "loud",
    "z",
    "Z",
];

/// Sorts option words; a later opposite (`rw` after `ro`) takes an attribute back.
pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Options {
    let mut options = Options::default();
    for word in words {
        if let Some((_, attribute, _)) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            options.attributes.push(*attribute);
        } else if let Some((_, attribute, _)) =
            ATTRIBUTES.iter().find(|(name, ..)| word.strip_prefix('r') == Some(name))
        {
            options.attributes.push(*attribute);
            options.recursive_attributes = true;
        } else if NEUTRAL.contains(&word) {
            take_back(&mut options.attributes, word);
        } else {
            other(&mut options, word);
        }
    }
    options.attributes.dedup();
    options
}

fn other(options: &mut Options, word: &str) {
    match word {
        "bind" => options.bind = true,
        "rbind" => (options.bind, options.recursive) = (true, true),
        "private" | "rprivate" => options.propagation = Some(Propagation::Private),
        "slave" | "rslave" => options.propagation = Some(Propagation::Slave),
        "shared" | "rshared" => options.propagation = Some(Propagation::Shared),
        data => options.data.push(data.to_owned()),
    }
}

fn take_back(attributes: &mut Vec<Attribute>, word: &str) {
    let taken = match word {
        "rw" => "ro".to_owned(),
        other => format!("no{other}"),
    };
    attributes.retain(|attribute| attribute.name() != taken);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_a_name_and_a_bit() {
        for (name, attribute, bit) in ATTRIBUTES {
            assert_eq!((attribute.name(), Attribute::bits(&[attribute])), (name, bit));
        }
    }

    #[test]
    fn options_are_sorted_by_what_takes_them() {
        let got = parse(["rbind", "ro", "nosuid", "rslave", "size=64k", "mode=755"]);
        assert_eq!(got.attributes, [Attribute::Ro, Attribute::Nosuid]);
        assert_eq!(got.propagation, Some(Propagation::Slave));
        assert_eq!(got.data, ["size=64k", "mode=755"]);
        assert!(got.bind && got.recursive && !got.recursive_attributes);
    }

    #[test]
    fn the_last_of_two_opposites_wins() {
        assert_eq!(parse(["ro", "noexec", "rw", "exec"]).attributes, []);
        assert_eq!(parse(["rw", "rro"]).attributes, [Attribute::Ro]);
        assert!(parse(["rro"]).recursive_attributes);
    }
}
