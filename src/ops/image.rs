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
    let (d, layers) = match &request.source { Source::Rootfs(d) => (d.clone(), vec![]), Source::Image(i) => { let d = HostPath::parse(i)?; (d.clone(), vec![d]) } };
    Ok(Found { root: Some(Root::open(d.as_path())?), config: None, layers, id: None })
//! `images`, `rmi`, `load`, `import`, `pull`, `demo kernel`.
use super::container::Force;
use super::{Progress, Roots, not_wired};
/// A line of `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Without a tag: `docker.io/library/alpine`, or as it was named; `<none>`.
    pub repository: String,
    pub tag: String,
    pub id: Digest,
    /// Seconds since it was made, where the image says.
    pub age: Option<u64>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
pub fn list(_roots: &Roots) -> Result<Vec<ImageRow>> {
    not_wired("images")
/// What `rmi` did.
pub enum Removed {
    Untagged(String),
    Deleted(Digest),
pub fn remove(_roots: &Roots, _image: &str, _force: Force) -> Result<Vec<Removed>> {
    not_wired("rmi")
/// Where an archive comes from.
pub enum Input {
    Stdin,
    /// A file, or for `load` the directory of an OCI layout.
    Path(HostPath),
/// The names of what was loaded, or digests where there is no name.
pub fn load(_roots: &Roots, _input: &Input, _progress: &dyn Progress) -> Result<Vec<String>> {
    not_wired("load")
/// A root file system as a tar becomes an image of one layer with this name.
pub fn import(_roots: &Roots, _input: &Input, _name: Option<&str>, _progress: &dyn Progress) -> Result<Digest> {
    not_wired("import")
/// What was pulled.
pub struct Pulled {
    /// The whole name: `docker.io/library/alpine:latest`.
    pub name: String,
    pub digest: Digest,
pub fn pull(_roots: &Roots, _reference: &str, _platform: Option<&str>, _progress: &dyn Progress) -> Result<Pulled> {
    not_wired("pull")
/// A line of `demo kernel`: what one root file system sees of the kernel and says of itself.
pub struct KernelRow {
    /// `host`, or the image.
    pub place: String,
    /// `uname -r`.
    pub release: String,
    pub boot_id: String,
    /// PRETTY_NAME of its os-release.
    pub distribution: Option<String>,
/// The host first, then each image, in which nothing of the image itself is run.
pub fn demo_kernel(_roots: &Roots, _images: &[String], _progress: &dyn Progress) -> Result<Vec<KernelRow>> {
    not_wired("demo kernel")
}
