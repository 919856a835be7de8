//! `commit`: a container's changes become a layer on its image, and what it was run with the new image's configuration.

use super::{Held, hold};
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::assemble::Entry;
use crate::image::change;
use crate::image::files::{self, Commit};
use crate::image::{Image, Reference, Store};
use crate::ops::{cgroups, container as containers};
use crate::spec::signal;
use crate::state::{Roots, events};
use crate::sys::fs::{Root, exists};
use oci_spec::image::{Arch, Config, History, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
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
    let base = held.layers()?.map(|(image, _)| image);
    let config = configuration(&held, base.as_ref(), request)?;
    let _paused = match (&held.init, request.pause) {
        (Some(_), Pause::Yes) => cgroups::pause(&containers::find(roots, &request.container)?)?,
        _ => None,
    };
    let layer = entries(&held, base.is_some())?;
    let store = Store::open(&roots.root)?;
    let commit = Commit { base: base.as_ref(), layer, config, name: name.as_ref() };
    let id = files::commit(&store, commit)?.id;
    let name = name.map_or_else(String::new, |name| name.familiar());
    let of =
        [("imageID", id.to_string()), ("imageRef", name), ("comment", request.message.clone().unwrap_or_default())];
    events::container(roots, &held.config, "commit", &of.each_ref().map(|(key, value)| (*key, value.as_str())));
    Ok(id)
}

fn entries(held: &Held<'_>, has_image: bool) -> Result<Vec<Entry>> {
    let upper = held.upper();
    match has_image {
        false => files::flat_entries(&Arc::new(held.bare()?)).map(|mut entries| {
            entries.iter_mut().for_each(|entry| held.ids.number_inside(entry));
            entries
        }),
        true if exists(upper.as_path()) => files::layer_entries(&Arc::new(Root::open(upper.as_path())?)),
        true => Ok(Vec::new()),
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
    let mut config = image.config().clone().unwrap_or_default();
    as_run(held, &mut config);
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

fn as_run(held: &Held<'_>, config: &mut Config) {
    let run = &held.request;
    if let Some(entrypoint) = &run.entrypoint {
        config.set_entrypoint(Some(entrypoint.clone()).filter(|words| !words.is_empty()));
        config.set_cmd(None);
    }
    if !run.command.is_empty() {
        config.set_cmd(Some(run.command.clone()));
    }
    let mut env = config.env().clone().unwrap_or_default();
    run.env.iter().for_each(|word| change::set_variable(&mut env, word));
    config.set_env(Some(env).filter(|env| !env.is_empty()));
    if !run.labels.is_empty() {
        let mut labels = config.labels().clone().unwrap_or_default();
        labels.extend(run.labels.iter().cloned());
        config.set_labels(Some(labels));
    }
    if let Some(dir) = &run.workdir {
        config.set_working_dir(Some(dir.clone()));
    }
    if let Some(user) = &run.user {
        config.set_user(Some(user.clone()));
    }
    let mut ports = config.exposed_ports().clone().unwrap_or_default();
    let with_protocol = |port: &String| if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    ports.extend(run.network.expose.iter().map(with_protocol));
    ports.sort();
    ports.dedup();
    config.set_exposed_ports(Some(ports).filter(|ports| !ports.is_empty()));
    if let Some(signal) = run.stop_signal {
        config.set_stop_signal(Some(signal::name(signal)));
    }
}
