//! `.Mounts`: what of the host's, of volumes and of images a container has mounted.

use crate::spec::request::INIT_PATH;
use crate::state::Config;
use oci_spec::runtime::Mount;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// What of a runtime specification says what is mounted.
#[derive(Default, Deserialize)]
struct Mounts {
    #[serde(default)]
    mounts: Vec<Mount>,
}

/// The mounts that were asked for: those with a source on the host, but our own files.
pub(in crate::ops) fn mounts(config: Option<&Config>) -> Vec<Value> {
    let Some(config) = config else { return Vec::new() };
    let Mounts { mounts } = config.spec.parse().unwrap_or_default();
    let own = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", INIT_PATH].map(Path::new);
    let image =
        |mount: &Mount| config.images.iter().find(|image| mount.destination() == Path::new(image.target.as_str()));
    let bound =
        |mount: &&Mount| mount.source().as_ref().is_some_and(|source| source.is_absolute()) || image(mount).is_some();
    let shown = mounts.iter().filter(bound).filter(|mount| !own.contains(&mount.destination().as_path()));
    shown
        .map(|mount| {
            let (source, target) = (mount.source(), mount.destination());
            let volume = config.volumes.iter().find(|volume| target == Path::new(volume.target.as_str()));
            let options = mount.options().as_deref().unwrap_or_default();
            let read_only = options.iter().any(|option| option == "ro" || option == "rro");
            let mode = if read_only { "ro" } else { "" };
            if let Some(image) = image(mount) {
                return json!({
                    "Type": "image", "Source": image.image, "Destination": target, "Mode": "", "RW": false,
                    "Propagation": "",
                });
            }
            match volume {
                Some(volume) => json!({
                    "Type": "volume", "Name": volume.name, "Source": source, "Destination": target,
                    "Driver": "local", "Mode": mode, "RW": !read_only, "Propagation": "",
                }),
                None => json!({
                    "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": !read_only,
                    "Propagation": options.iter().find(|option| propagates(option)),
                }),
            }
        })
        .collect()
}

fn propagates(option: &str) -> bool {
    ["private", "shared", "slave"].contains(&option.strip_prefix('r').unwrap_or(option))
}
