//! `commit`: a container's changes become a layer on its image, and what it was run with the new image's configuration.

use super::{Held, hold};
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::assemble::Entry;
use crate::image::change;
use crate::image::files::{self, Commit};
use crate::image::{Image, Lower, Reference, Store};
use crate::ops::own::Own;
use crate::ops::{cgroups, container as containers, record};
use crate::spec;
use crate::spec::health::ImageHealth;
use crate::state::{Roots, events};
use crate::sys::fs::Root;
use oci_spec::image::{Arch, History, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
use std::sync::Arc;

/// One `minirun commit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    pub container: String,
    pub name: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    pub pause: Pause,
}

/// Whether the container's processes stand still meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    No,
    Yes,
}

/// Makes the image; gives its id.
pub fn commit(roots: &Roots, request: &CommitRequest) -> Result<Digest> {
    let name = request.name.as_deref().map(Reference::parse).transpose()?;
    if name.as_ref().is_some_and(|name| name.digest.is_some()) {
        return Err(Error::user("an image is not named by its digest").hint("minirun commit CONTAINER NAME:TAG"));
    }
    let held = hold(roots, &request.container)?;
    let base = held.lower()?;
    let config = configuration(&held, base.as_ref().map(|(image, _)| image), request)?;
    let _paused = match (&held.init, request.pause) {
        (Some(_), Pause::Yes) => cgroups::pause(&containers::find(roots, &request.container)?)?,
        _ => None,
    };
    let layer = entries(&held, base.as_ref().map(|(_, lower)| lower))?;
    let base = base.map(|(image, _)| image);
    let store = Store::open(&roots.root)?;
    let health = health(&held);
    let commit = Commit { base: base.as_ref(), layer, config, health, name: name.as_ref() };
    let id = files::commit(&store, commit)?.id;
    let name = name.map_or_else(String::new, |name| name.familiar());
    let of =
        [("imageID", id.to_string()), ("imageRef", name), ("comment", request.message.clone().unwrap_or_default())];
    events::container(roots, &held.config, "commit", &of.each_ref().map(|(key, value)| (*key, value.as_str())));
    Ok(id)
}

/// What checks it, or that nothing does, in docker's words.
fn health(held: &Held<'_>) -> Option<serde_json::Value> {
    let of_image = match &held.config.health {
        Some(check) => record::image_health(check),
        None if held.request.health.none => ImageHealth { test: vec!["NONE".to_owned()], ..ImageHealth::default() },
        None => return None,
    };
    serde_json::to_value(of_image).ok()
}

fn entries(held: &Held<'_>, lower: Option<&Lower>) -> Result<Vec<Entry>> {
    let open = |dir: &HostPath| Ok::<_, Error>(Arc::new(Root::open(dir.as_path())?));
    match (lower, held.own()) {
        (None, _) => files::flat_entries(&Arc::new(held.bare()?)).map(|mut entries| {
            entries.iter_mut().for_each(|entry| held.ids.number_inside(entry));
            entries
        }),
        (Some(_), Own::Nothing) => Ok(Vec::new()),
        (Some(_), Own::Upper(upper)) => files::layer_entries(&open(&upper)?),
        (Some(lower), Own::Copy(copy)) => {
            files::changed_entries(&open(&copy)?, &super::tree::changes_of_copy(held, lower, &copy)?)
        }
    }
}

/// The image's configuration, then what the container was run with, then the changes.
fn configuration(held: &Held<'_>, base: Option<&Image>, request: &CommitRequest) -> Result<ImageConfiguration> {
    let invalid = |e: oci_spec::OciSpecError| Error::internal(format!("an image's configuration: {e}"));
    let mut image = match base {
        Some(base) => base.config.clone(),
        None => {
            ImageConfigurationBuilder::default().architecture(Arch::default()).os(Os::Linux).build().map_err(invalid)?
        }
    };
    let mut config = spec::image::as_run(image.config().as_ref(), &held.request);
    request.changes.iter().try_for_each(|line| change::apply(&mut config, line))?;
    image.set_config(Some(config));
    let created = crate::ops::now();
    image.set_created(Some(created.clone()));
    image.set_author(request.author.clone());
    let mut history: Vec<History> = image.history().clone().unwrap_or_default();
    let mut step = HistoryBuilder::default().created(created).created_by(held.config.args.join(" "));
    if let Some(author) = &request.author {
        step = step.author(author.clone());
    }
    if let Some(message) = &request.message {
        step = step.comment(message.clone());
    }
    history.push(step.build().map_err(invalid)?);
    image.set_history(Some(history));
    Ok(image)
}
