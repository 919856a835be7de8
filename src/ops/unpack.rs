//! `unpack`: an image's root file system as a plain directory.

use super::Progress;
use super::image::{Bars, check_platform};
use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::image::{Platform, Store, flat, layout};
use crate::state::Roots;
use crate::sys::{fs, host};

/// Where the image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// In the store, by name or id.
    Store(String),
    /// `DIR` or `DIR:NAME`: an OCI layout, and which image of it.
    Layout(HostPath),
}

pub fn unpack(
    roots: &Roots,
    from: &From,
    dir: &HostPath,
    platform: Option<&str>,
    progress: &dyn Progress,
) -> Result<()> {
    if host::uid() != 0 {
        return Err(Error::user("only root can give files their owners").hint("sudo minirun unpack …"));
    }
    let wanted = platform.map(Platform::parse).transpose()?;
    let bars = Bars::new(progress);
    match from {
        From::Store(name) => {
            let store = Store::look(&roots.root);
            let image = store.find(name).map_err(|e| e.hint(format!("minirun pull {name}")))?;
            check_platform(&image, name, wanted.as_ref())?;
            let done = store.unpack_flat(&image, dir, &bars);
            done.map_err(|e| {
                e.during(format!("image {}", image.label())).hint("remove the image and load or pull it again")
            })
        }
        From::Layout(place) => {
            let (place, name) = split(place)?;
            let (blobs, image) = layout::find(&place, name.as_deref(), &wanted.unwrap_or_else(Platform::host))?;
            let done = flat::unpack(&blobs, &image, dir, &bars);
            done.map_err(|e| e.during(format!("layout {place}")).hint("the image is damaged: copy it again"))
        }
    }
}

/// The directory, which may have colons in its name, and the image's name behind it, which may have some, too.
fn split(place: &HostPath) -> Result<(HostPath, Option<String>)> {
    let text = place.as_str();
    let colons = text.match_indices(':').map(|(at, _)| at);
    for end in colons.chain([text.len()]) {
        let dir = HostPath::parse(&text[..end])?;
        if fs::exists(dir.child("index.json").as_path()) {
            return Ok((dir, text.get(end + 1..).map(str::to_owned)));
        }
    }
    Err(Error::user(format!("{text} is no OCI layout"))
        .hint("it must have a file index.json; skopeo copy … oci:DIR:NAME makes one"))
}
