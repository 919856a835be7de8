//! `inspect`, `port`: all that is known of a container, under docker's names; and beside them, under `Host`, where the
//! host has it: process, veth, cgroups, namespaces.

mod asked;
mod host;
mod mounts;
mod network;

pub(super) use mounts::mounts;
pub use network::port;

use super::container::{self, Container};
use super::image::told;
use super::{cgroups, networks, own, volume};
use crate::error::Result;
use crate::image::{Image, Store};
use crate::monitor::{log, notes};
use crate::spec::request::RunRequest;
use crate::state::health::{self, Health};
use crate::state::{Roots, Status};
use crate::sys::fs;
use serde_json::{Map, Value, json};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Container,
    Image,
    Volume,
    Network,
    /// A container, or else an image, a volume or a network.
    Any,
}

/// All that is known of it. `sizes`: with what a container has written into its root, which is looked at file by file.
pub fn inspect(roots: &Roots, word: &str, kind: Kind, sizes: bool) -> Result<Value> {
    match kind {
        Kind::Image => told::inspect(roots, word),
        Kind::Volume => volume::inspect(roots, word),
        Kind::Network => networks::inspect(roots, word),
        Kind::Container => container::find(roots, word).map(|found| whole(roots, &found, sizes)),
        Kind::Any => match container::find(roots, word) {
            Ok(found) => Ok(whole(roots, &found, sizes)),
            Err(no_container) => {
                let image = told::inspect(roots, word);
                // one that is here and broken, or not the only one of these digits, says more
                let missing = image.as_ref().err().is_none_or(|e| e.kind == crate::error::Kind::NotFound);
                let other = image.or_else(|e| volume::inspect(roots, word).map_err(|_| e));
                let other = other.or_else(|e| networks::inspect(roots, word).map_err(|_| e));
                other.map_err(|e| if missing { no_container } else { e })
            }
        },
    }
}

fn whole(roots: &Roots, found: &Container, sizes: bool) -> Value {
    let loans = crate::ops::network::loans(roots, &found.id);
    let mut all = json!({
        "Id": found.id,
        "Platform": "linux",
        "State": state(roots, found),
        "RestartCount": restart_count(found),
        "LogPath": roots.container(&found.id).child(log::NAME),
        "NetworkSettings": network::settings(&loans),
        "Host": host::host(roots, found, &loans),
    });
    let Some(config) = &found.config else { return all }; // it can be removed all the same
    let image = config.image_id.as_ref().map(|id| Store::look(&roots.root).find(id.as_str()));
    let image = image.and_then(Result::ok);
    let image_config = image.as_ref().map(|image| &image.config);
    let spec = config.spec.value();
    let request: Option<RunRequest> = config.request.parse().ok(); // nobody knows what a broken one asked for
    let of_record = json!({
        "Name": format!("/{}", config.name),
        "Created": config.created,
        "Path": config.args.first(),
        "Args": config.args.get(1..),
        // as `images` says it, where it is still here
        "Image": image.as_ref().map(|image| &image.id).or(config.image_id.as_ref()),
        "Mounts": mounts::mounts(Some(config)),
        "GraphDriver": host::graph_driver(roots, found, image.as_ref()),
        "HostConfig": request.as_ref().map(|request| asked::host_config(config, request)),
        "Config": request.as_ref().map(|request| asked::config(config, request, image_config, &spec)),
        "Spec": spec,
    });
    if let (Value::Object(all), Value::Object(of_record)) = (&mut all, of_record) {
        all.extend(of_record);
    }
    if sizes {
        let own = own::own(roots, &found.id).size();
        all["SizeRw"] = own.into();
        all["SizeRootFs"] = (own + image.as_ref().map_or(0, Image::size)).into();
    }
    all
}

fn restart_count(found: &Container) -> u32 {
    let of_life = found.life.as_ref().map(|life| life.restarts.count);
    let of_end = || found.ended.as_ref().map(|ended| ended.restarts.count);
    of_life.or_else(of_end).unwrap_or(0)
}

/// docker's word for a moment that has not come: the year 1.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn state(roots: &Roots, found: &Container) -> Value {
    let running = found.status == Status::Running;
    let paused = running && cgroups::is_frozen(found);
    let init = found.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| running);
    let ended = found.ended.as_ref().filter(|_| !running);
    let exit = match &found.status {
        Status::Exited(exit) | Status::Restarting(exit) => exit.map_or(container::UNKNOWN_EXIT, |exit| exit.code()),
        _ => 0,
    };
    let error = match &found.status {
        Status::Broken(why) => why.clone(),
        _ => ended.and_then(|ended| ended.error.clone()).or_else(|| last_note(roots, found)).unwrap_or_default(),
    };
    let mut state = json!({
        "Status": word(&found.status, paused),
        "Running": running,
        "Paused": paused,
        "Restarting": matches!(found.status, Status::Restarting(_)),
        "Dead": matches!(found.status, Status::Dead | Status::Broken(_)),
        "OOMKilled": ended.is_some_and(|ended| ended.oom_killed),
        "Pid": init.map_or(0, |init| init.pid.0),
        "ExitCode": exit,
        "Error": error,
        "StartedAt": found.started.as_ref().map_or(NEVER, |started| &started.at),
        "FinishedAt": ended.map_or(NEVER, |ended| &ended.at),
    });
    if found.config.as_ref().is_some_and(|config| config.health.is_some()) {
        state["Health"] = health(&health::read(roots, &found.id));
    }
    state
}

fn health(health: &Health) -> Value {
    let checked = |one: &health::Checked| json!({ "Start": one.start, "End": one.end, "ExitCode": one.exit_code, "Output": one.output });
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.streak,
        "Log": health.log.iter().map(checked).collect::<Vec<_>>(),
    })
}

/// docker's word for how a container is.
pub(super) fn word(status: &Status, paused: bool) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Starting => "starting",
        Status::Running if paused => "paused",
        Status::Restarting(_) => "restarting",
        Status::Running => "running",
        Status::Ending => "stopping",
        Status::Exited(_) => "exited",
        Status::Dead | Status::Broken(_) => "dead",
    }
}

/// What the monitor noted last, without the time.
fn last_note(roots: &Roots, found: &Container) -> Option<String> {
    let text = fs::read_text(roots.container(&found.id).child(notes::NAME).as_path()).ok()?;
    text.lines().last()?.split_once(' ').map(|(_time, note)| note.to_owned())
}

/// Adds to the list that a map has of a key.
fn push(map: &mut Map<String, Value>, key: String, value: Value) {
    if let Value::Array(list) = map.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(value);
    }
}
