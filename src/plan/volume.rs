//! The deeds that give a container its volumes, as data. They are done by the monitor before there is an init, or by
//! `create`. Nothing here touches the system.

use crate::id::{ContainerPath, HostPath, Name};
use crate::mount::plan::RootSource;
use crate::mount::step::lowerdir;
use crate::shell::{Shell, quote};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The volume, where it is not there yet.
    Make {
        /// The directory of all volumes.
        store: HostPath,
        name: Name,
        labels: Vec<(String, String)>,
        /// Nobody gave it its name.
        anonymous: bool,
        /// RFC 3339.
        created: String,
    },
    /// What the image has at the volume's target, where the volume is empty and was never filled: whoever does it looks,
    /// for another container may fill it, or somebody remove it, until it is ours.
    Fill {
        store: HostPath,
        name: Name,
        /// The image: its layers without a place for changes, or a directory.
        image: RootSource,
        target: ContainerPath,
    },
}

impl Step {
    pub fn shell(&self) -> Shell {
        match self {
            Step::Make { store, name, .. } => Shell::line(format!("mkdir -p {}", quote(data(store, name).as_str()))),
            Step::Fill { store, name, image, target } => Shell::line(fill(&data(store, name), image, target)),
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Step::Make { anonymous: false, .. } => "a volume: what is written there outlives the container",
            Step::Make { anonymous: true, .. } => {
                "a volume without a name: what is written there is not in the container's changes"
            }
            Step::Fill { .. } => "a new volume begins with what the image has there",
        }
    }
}

fn fill(data: &HostPath, image: &RootSource, target: &ContainerPath) -> String {
    let to = quote(data.as_str());
    let copy = |root: &str| {
        let from = quote(&format!("{}/.", target.as_str().trim_end_matches('/')));
        format!("cp -a {root}{from} {to}")
    };
    let copy = match image {
        RootSource::Directory(dir) => copy(&quote(dir.as_str())),
        RootSource::Overlay { lower, .. } => {
            let options = quote(&format!("ro,lowerdir={}", lowerdir(lower)));
            format!("{{ I=$(mktemp -d) && mount -t overlay -o {options} overlay $I && {} && umount $I; }}", copy("$I"))
        }
    };
    format!("[ \"$(ls -A {to})\" ] || {copy}")
}

/// As `state::volume` has it.
fn data(store: &HostPath, name: &Name) -> HostPath {
    store.child(name.as_str()).child("_data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> HostPath {
        HostPath::parse(text).unwrap()
    }

    #[test]
    fn a_fill_copies_what_is_below_the_target() {
        let fill = |image| Step::Fill {
            store: path("/v"),
            name: Name::parse("data").unwrap(),
            image,
            target: ContainerPath::parse("/a b").unwrap(),
        };
        let line = fill(RootSource::Directory(path("/srv/root"))).shell().to_string();
        assert_eq!(line, "[ \"$(ls -A /v/data/_data)\" ] || cp -a /srv/root'/a b/.' /v/data/_data");
        let (upper, work) = (path("/u"), path("/w"));
        let layers = RootSource::Overlay { lower: vec![path("/l/1"), path("/l/2")], upper, work, volatile: false };
        let line = fill(layers).shell().to_string();
        assert!(line.contains("-o ro,lowerdir=/l/2:/l/1 overlay $I && cp -a $I'/a b/.' /v/data/_data"), "{line}");
    }
}
