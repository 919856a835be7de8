//! An image's configuration as the flags of `run` change it: what `inspect` shows, and `commit` writes. Pure.

use super::env;
use super::mount::MountRequest;
use super::request::{NetworkWords, RunRequest};
use super::signal;
use crate::net::publish::Publish;
use oci_spec::image::Config;

/// The image's configuration with what a container was run with over it (moby, daemon/commit.go, merge). The request is
/// one whose mounts were looked up: an image's own volumes are among them.
pub fn as_run(image: Option<&Config>, request: &RunRequest) -> Config {
    let mut config = image.cloned().unwrap_or_default();
    if let Some(entrypoint) = &request.entrypoint {
        config.set_entrypoint(Some(entrypoint.clone()).filter(|words| !words.is_empty()));
        config.set_cmd(None);
    }
    if !request.command.is_empty() {
        config.set_cmd(Some(request.command.clone()));
    }
    let mut environment = config.env().clone().unwrap_or_default();
    env::merge(&mut environment, &request.env);
    config.set_env(some(environment));
    let mut labels = config.labels().clone().unwrap_or_default();
    labels.extend(request.labels.iter().cloned());
    config.set_labels(Some(labels).filter(|labels| !labels.is_empty()));
    if let Some(dir) = &request.workdir {
        config.set_working_dir(Some(dir.clone()));
    }
    if let Some(user) = &request.user {
        config.set_user(Some(user.clone()));
    }
    let ports = config.exposed_ports().iter().flatten().cloned();
    config.set_exposed_ports(some(sorted(ports.chain(exposed(&request.network)))));
    let volumes = config.volumes().iter().flatten().cloned();
    config.set_volumes(some(sorted(volumes.chain(request.mounts.iter().filter_map(of_no_name)))));
    if let Some(number) = request.stop_signal {
        config.set_stop_signal(Some(signal::name(number)));
    }
    config
}

/// What is published is exposed, too.
fn exposed(network: &NetworkWords) -> impl Iterator<Item = String> {
    let with_protocol = |port: &String| if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    let published = network.publish.iter().filter_map(|word| Publish::parse(word).ok()).flatten();
    let published = published.map(|port| format!("{}/{}", port.container, port.protocol));
    network.expose.iter().map(with_protocol).chain(published)
}

/// Where a volume is mounted that nobody gave a name: `-v /data` is what VOLUME says in an image.
fn of_no_name(mount: &MountRequest) -> Option<String> {
    match mount {
        MountRequest::Volume(volume) if volume.anonymous => Some(volume.target.to_string()),
        _ => None,
    }
}

fn sorted(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.dedup();
    words
}

fn some(words: Vec<String>) -> Option<Vec<String>> {
    Some(words).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::request::Source;
    use crate::spec::volume;

    #[test]
    fn the_flags_go_over_the_image() {
        let image: Config = serde_json::from_value(serde_json::json!({
            "Entrypoint": ["/entry"], "Cmd": ["serve"], "Env": ["A=1", "B=2"], "Labels": { "of": "image" },
            "ExposedPorts": { "80/tcp": {} }, "User": "www", "StopSignal": "SIGQUIT",
        }))
        .unwrap();
        let mut request = RunRequest::new(Source::Image("web".into()));
        assert_eq!(as_run(Some(&image), &request), image);
        request.env = vec!["A=3".into(), "B".into()];
        request.labels = vec![("more".into(), "1".into())];
        request.network.expose = vec!["53/udp".into(), "80".into()];
        request.network.publish = vec!["8080:81".into()];
        request.stop_signal = Some(2);
        let MountRequest::Volume(data) = volume::parse("/data", "/").unwrap() else { panic!("no volume") };
        request.mounts = vec![MountRequest::Volume(crate::spec::mount::VolumeMount { anonymous: true, ..data })];
        let got = serde_json::to_value(as_run(Some(&image), &request)).unwrap();
        assert_eq!(got["Env"], serde_json::json!(["A=3"]));
        assert_eq!(got["Labels"], serde_json::json!({ "of": "image", "more": "1" }));
        assert_eq!(got["ExposedPorts"], serde_json::json!({ "53/udp": {}, "80/tcp": {}, "81/tcp": {} }));
        assert_eq!(got["Volumes"], serde_json::json!({ "/data": {} }));
        assert_eq!((&got["StopSignal"], &got["User"]), (&"SIGINT".into(), &"www".into()));
        assert_eq!((&got["Entrypoint"][0], &got["Cmd"][0]), (&"/entry".into(), &"serve".into()));
        request.entrypoint = Some(vec!["sh".into()]);
        let got = serde_json::to_value(as_run(Some(&image), &request)).unwrap();
        assert_eq!((&got["Entrypoint"][0], got.get("Cmd")), (&"sh".into(), None));
    }
}
