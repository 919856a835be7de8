//! stub
use super::attach::Screen;
use crate::error::Result;
use crate::id::{Digest, HostPath};
use crate::spec::request::{RunRequest, Source};
use crate::state::Roots;
use crate::sys::fs::Root;
use oci_spec::image::ImageConfiguration;

/// x
pub(super) struct Found {
    pub(super) root: Option<Root>,
    pub(super) config: Option<ImageConfiguration>,
    pub(super) layers: Vec<HostPath>,
    pub(super) id: Option<Digest>,
}
pub(super) fn find(_roots: &Roots, request: &RunRequest, _pull: bool, _screen: &mut dyn Screen) -> Result<Found> {
    let (d, layers) = match &request.source {
        Source::Rootfs(d) => (d.clone(), vec![]),
        Source::Image(i) => {
            let d = HostPath::parse(i)?;
            (d.clone(), vec![d])
        }
    };
    Ok(Found { root: Some(Root::open(d.as_path())?), config: None, layers, id: None })
}
