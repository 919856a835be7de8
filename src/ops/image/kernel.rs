//! `demo kernel`: that all share one.

use super::find;
use crate::error::{Error, Result};
use crate::id::{ContainerPath, HostPath};
use crate::image::builtin;
use crate::mount::probe;
use crate::ops::{Progress, container, run};
use crate::spec::mount::{BindMount, MountRequest, Propagation, Submounts};
use crate::spec::request::{RunRequest, Source};
use crate::state::Roots;
use crate::sys::{fs, host};
use std::path::Path;

/// A line of `demo kernel`: what one root file system sees of the kernel and says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRow {
    /// `host`, or the image.
    pub place: String,
    /// `uname -r`.
    pub release: String,
    /// /proc/version.
    pub version: String,
    pub boot_id: String,
    /// PRETTY_NAME of its os-release.
    pub distribution: Option<String>,
}

/// The host first, then each image, in which nothing of the image itself is run: a tool of ours is mounted into it.
pub fn demo(roots: &Roots, images: &[String], progress: &dyn Progress) -> Result<Vec<KernelRow>> {
    let text = |path: &str| fs::read_text(Path::new(path)).map(|text| text.trim().to_owned());
    let mut rows = vec![KernelRow {
        place: "host".to_owned(),
        release: host::kernel_release()?,
        version: text("/proc/version")?,
        boot_id: text("/proc/sys/kernel/random/boot_id")?,
        distribution: text("/etc/os-release").ok().and_then(|text| pretty_name(&text)),
    }];
    roots.make()?;
    let tool = roots.state.child(&format!("tool-{}", std::process::id()));
    fs::write_new(tool.as_path(), builtin::HELLO, 0o755)?;
    let seen: Result<Vec<_>> = images.iter().map(|image| kernel_of(roots, image, &tool, progress)).collect();
    fs::unlink(tool.as_path())?;
    rows.extend(seen?);
    Ok(rows)
}

fn kernel_of(roots: &Roots, image: &str, tool: &HostPath, progress: &dyn Progress) -> Result<KernelRow> {
    const PLACE: &str = "/.minirun-tool";
    let mut request = RunRequest::new(Source::Image(image.to_owned()));
    request.remove = true;
    request.network.mode = Some("none".to_owned());
    request.entrypoint = Some(vec![PLACE.to_owned()]);
    request.command = vec!["--kernel".to_owned()];
    request.mounts = vec![MountRequest::Bind(tool_mount(tool, PLACE)?)];
    let root = find(roots, &request, &mut None, progress)?.root; // the run looks for it again
    let os_release = root.as_ref().map(|root| probe::text(root, "/etc/os-release")).transpose()?.flatten();
    let outcome = run::run_collecting(roots, &request, progress)?;
    let output = String::from_utf8_lossy(&outcome.output).into_owned();
    match (outcome.exit.map_or(container::UNKNOWN_EXIT, |exit| exit.code()), kernel_words(&output)) {
        (0, Some([release, version, boot_id])) => Ok(KernelRow {
            place: image.to_owned(),
            release,
            version,
            boot_id,
            distribution: os_release.and_then(|text| pretty_name(&text)),
        }),
        (code, _) => Err(Error::internal(format!("the tool in image {image} ended with {code}: {output:?}"))),
    }
}

/// What follows the labels of `hello --kernel`: release, version, boot id.
fn kernel_words(output: &str) -> Option<[String; 3]> {
    let words = output.lines().map(|line| line.split_once(": ").map(|(_label, word)| word.to_owned()));
    words.collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn tool_mount(tool: &HostPath, place: &str) -> Result<BindMount> {
    Ok(BindMount {
        source: tool.clone(),
        target: ContainerPath::parse(place)?,
        read_only: true,
        submounts: Submounts::Leave,
        propagation: Propagation::Rprivate,
        relabel: None,
        create_source: false,
    })
}

/// PRETTY_NAME of os-release(5).
pub(in crate::ops) fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}
