//! A copy of an image's root, where nothing can be laid over its layers, as data. It is made by the monitor before there
//! is an init, or by what is copied into the container before its first start. Nothing here touches the system.

use crate::id::HostPath;
use crate::shell::{Shell, quote};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The image's root.
    pub image: HostPath,
    /// The places that every root has: what the image has there covers them.
    pub below: HostPath,
    /// Where the copy will be, whole or not at all.
    pub to: HostPath,
    /// It need not survive a crash of the host.
    pub volatile: bool,
}

impl Copy {
    pub fn shell(&self) -> Shell {
        let Copy { image, below, to, volatile } = self;
        let [image, below, to] = [&format!("{image}/."), &format!("{below}/."), to.as_str()].map(quote);
        let sync = if *volatile { "" } else { " && sync -f \"$C.part\"" };
        Shell::line(format!(
            "{{ C={to} && rm -rf \"$C.part\" && mkdir -p \"$C.part\" && cp -a {below} \"$C.part\" && \
             cp -a --remove-destination {image} \"$C.part\"{sync} && mv \"$C.part\" \"$C\"; }}"
        ))
    }
}
