//! What is written down of a container, from what was asked for and decided.

use super::run::Design;
use super::{etc, mounts};
use crate::error::{Error, Result};
use crate::id::Name;
use crate::spec;
use crate::spec::health::{HealthCheck, ImageHealth};
use crate::spec::request::RunRequest;
use crate::spec::restart::Restart;
use crate::state::container::{self, RestartPolicy};
use crate::state::health::Check;
use crate::state::{Config, LogLimits, Raw};
use oci_spec::runtime::{LinuxIdMapping, Spec};

/// The container's record.
pub(super) fn config(name: Name, design: &Design) -> Result<Config> {
    let request = &design.request;
    let image = design.found.config.as_ref().and_then(|image| image.config().as_ref());
    Ok(Config {
        version: container::VERSION,
        id: design.id.clone(),
        name,
        image: request.source.as_str().to_owned(),
        image_id: design.found.id.clone(),
        args: spec::process::args(request, image)?,
        created: super::now(),
        remove: request.remove,
        attended: request.attended,
        tty: request.tty,
        interactive: request.interactive,
        stop_signal: stop_signal(request, design.found.config.as_ref()),
        stop_timeout: request.stop_timeout,
        restart: restart_policy(request.restart),
        health: health_check(request, design.found.health.as_ref())?,
        log: (!request.no_log).then(|| log_limits(request)),
        dns: etc::servers(&request.network)?,
        uid: uid(&design.spec),
        volumes: mounts::uses(request),
        images: mounts::image_uses(request),
        request: Raw::of(request)?,
        spec: Raw::of(&design.spec)?,
        security: Raw::of(&design.security)?,
    })
}

fn health_check(request: &RunRequest, image: Option<&serde_json::Value>) -> Result<Option<Check>> {
    let broken = |e| Error::image(format!("the image's health check is broken: {e}")).hint("--no-healthcheck");
    let image: Option<ImageHealth> = match request.health.none {
        true => None,
        false => image.map(|health| serde_json::from_value(health.clone())).transpose().map_err(broken)?,
    };
    let check = spec::health::check(&request.health, image.as_ref())?;
    Ok(check.map(|HealthCheck { command, interval, timeout, start_period, start_interval, retries }| Check {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    }))
}

/// docker's form of it, in nanoseconds.
pub(super) fn image_health(check: &Check) -> ImageHealth {
    let nanoseconds = |milliseconds: u64| milliseconds.saturating_mul(1_000_000);
    ImageHealth {
        test: spec::health::test(&check.command),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: check.retries,
    }
}

pub(super) fn restart_policy(asked: Restart) -> RestartPolicy {
    match asked {
        Restart::No => RestartPolicy::No,
        Restart::OnFailure(most) => RestartPolicy::OnFailure(most),
        Restart::Always => RestartPolicy::Always,
        Restart::UnlessStopped => RestartPolicy::UnlessStopped,
    }
}

fn log_limits(request: &RunRequest) -> LogLimits {
    let usual = LogLimits::default();
    LogLimits { size: request.log_size.unwrap_or(usual.size), files: request.log_files.unwrap_or(usual.files) }
}

/// The request's, else the image's, else SIGTERM.
fn stop_signal(request: &RunRequest, image: Option<&oci_spec::image::ImageConfiguration>) -> i32 {
    let of_image = image.and_then(|image| image.config().as_ref()).and_then(|config| config.stop_signal().clone());
    let of_image = of_image.and_then(|text| crate::sys::process::parse_signal(&text));
    request.stop_signal.map(i32::from).or(of_image).unwrap_or(libc::SIGTERM)
}

/// Who its program is on the host.
pub(super) fn uid(spec: &Spec) -> u32 {
    spec.process().as_ref().map_or(0, |process| on_host(spec, process.user().uid()))
}

/// Who the ids of the container's are on the host; nothing where they are the same.
pub(super) fn uid_maps(spec: &Spec) -> &[LinuxIdMapping] {
    spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default()
}

/// Who a user of the container's is on the host.
pub(super) fn on_host(spec: &Spec, uid: u32) -> u32 {
    let of = |map: &LinuxIdMapping| {
        let offset = uid.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        Some(map.host_id() + offset)
    };
    uid_maps(spec).iter().find_map(of).unwrap_or(uid)
}
