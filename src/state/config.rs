//! What a container was made from, and what was asked for it.

use super::health::Check;
use super::raw::Raw;
use crate::id::{ContainerId, ContainerPath, Digest, Name};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a container was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    pub id: ContainerId,
    pub name: Name,
    /// The image as it was asked for, or the directory of `--rootfs`.
    pub image: String,
    /// The image's id, where it has one: keeps it from `rmi`.
    pub image_id: Option<Digest>,
    pub args: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// Removed when it ends.
    pub remove: bool,
    /// It ends when no command stands in front of it any more.
    #[serde(default)]
    pub attended: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input stays open.
    pub interactive: bool,
    /// What `stop` sends: a signal's number.
    pub stop_signal: i32,
    /// How long `stop` waits before it kills, in seconds, where that was said; negative is for ever.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    /// `None` where what it says is not kept.
    pub log: Option<LogLimits>,
    /// When it is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// What says whether it is well.
    #[serde(default)]
    pub health: Option<Check>,
    /// Servers that are asked for names instead of the host's.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The user that its output belongs to, so that the program can open /dev/stdout by name.
    pub uid: u32,
    /// The volumes that it has, running or not: none of them is removed before it.
    #[serde(default)]
    pub volumes: Vec<VolumeUse>,
    /// The images that it has mounted besides its own.
    #[serde(default)]
    pub images: Vec<ImageUse>,
    /// What was asked for, in the command line's words: how it is made again by `start`.
    pub request: Raw,
    /// The runtime specification it was made by: what `exec` confines by.
    pub spec: Raw,
    /// What the specification leaves to the security domain, in that domain's words.
    pub security: Raw,
}

/// When a container that has ended is started again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    #[default]
    No,
    /// Where it failed, at most so often.
    OnFailure(Option<u32>),
    Always,
    /// The same; after a reboot only where it was not stopped before.
    UnlessStopped,
}

/// How often it was started again by itself since somebody has started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    pub count: u32,
    /// How long the last one had to wait, in milliseconds.
    pub delay: u64,
}

/// An image that a container has mounted somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// As it was asked for.
    pub image: String,
    /// Keeps it from `rmi`.
    pub id: Digest,
    pub target: ContainerPath,
}

impl Config {
    /// Every image that must stay as long as the container does.
    pub fn used_images(&self) -> impl Iterator<Item = &Digest> {
        self.image_id.iter().chain(self.images.iter().map(|image| &image.id))
    }
}

/// A volume as a container has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    pub name: Name,
    pub target: ContainerPath,
    /// Nobody gave it a name: it may go with the last container that has it.
    pub anonymous: bool,
}

/// How much of a container's output is kept: `files` files of at most `size` bytes, the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    pub size: u64,
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { size: 10 << 20, files: 3 }
    }
}
