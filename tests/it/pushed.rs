//! Images that go into a registry and come back: Debian's docker-registry, with skopeo, podman and curl as the other side.

use crate::support::command::Output;
use crate::support::registry::{HTPASSWD, REGISTRY, Registry, minirun, sandbox_with_mirror};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout};
use std::path::Path;

/// A sandbox with a registry that is empty, and with busybox in the store.
fn sandbox() -> Sandbox {
    let sandbox = sandbox_with_mirror();
    minirun(&sandbox, &["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]).expect_code(0);
    sandbox
}

/// skopeo, which wants to be told that there is no TLS.
#[track_caller]
fn skopeo(sandbox: &Sandbox, words: &str) -> Output {
    sandbox.sh(&format!("cd {} && skopeo --insecure-policy {words}", sandbox.path("").display())).expect_code(0)
}

#[track_caller]
fn digest_of(sandbox: &Sandbox, image: &str) -> String {
    minirun(sandbox, &["inspect", "-f", "{{.Digest}}", image]).text()
}

#[test]
fn what_is_pushed_is_what_is_here_byte_for_byte() {
    requires![root, tool("docker-registry"), tool("skopeo"), tool("curl")];
    let sandbox = sandbox();
    let _registry = Registry::start(&sandbox, "");
    let to = format!("{REGISTRY}/team/site:2");
    let said = minirun(&sandbox, &["push", "busybox", &to]).expect_code(0);
    let digest = digest_of(&sandbox, "busybox");
    assert_eq!((said.stdout.trim_end(), said.stderr.trim_end()), (digest.as_str(), format!("Pushed: {to}").as_str()));
    // a plain client reads it
    let url = format!("http://{REGISTRY}/v2/team/site/manifests");
    let accept = "-H 'accept: application/vnd.oci.image.manifest.v1+json'";
    let sum = sandbox.sh(&format!("curl -sf {accept} {url}/2 | sha256sum | cut -d' ' -f1")).text();
    assert_eq!(format!("sha256:{sum}"), digest);
    // and skopeo, whose copy is as ours
    skopeo(&sandbox, &format!("copy -q --src-tls-verify=false docker://{to} oci:copied:x"));
    assert!(Path::new(&sandbox.path(&format!("copied/blobs/sha256/{sum}"))).exists());
    // again: nothing is sent, as the registry's storage says
    let count = || sandbox.sh(&format!("find {} -name data | wc -l", sandbox.path("registry").display())).text();
    let before = count();
    let quiet = minirun(&sandbox, &["push", "-q", "busybox", &to]).expect_code(0);
    assert_eq!((quiet.stdout.trim_end(), quiet.stderr.as_str(), before), (digest.as_str(), "", count()));
    // and back into a store without it
    minirun(&sandbox, &["rmi", "busybox"]).expect_code(0);
    minirun(&sandbox, &["pull", "-q", &to]).expect_code(0);
    assert_eq!(digest_of(&sandbox, &to), digest);
}

#[test]
fn images_of_other_tools_come_and_go_unchanged() {
    requires![root, tool("docker-registry"), tool("skopeo")];
    let sandbox = sandbox();
    let _registry = Registry::start(&sandbox, "");
    let layout = format!("oci:{}", image_layout("busybox").display());
    for (name, form) in [
        ("schema2", "--format v2s2"),
        ("gzip", "--format oci --dest-compress --dest-compress-format gzip --dest-force-compress-format"),
        ("zstd", "--format oci --dest-compress --dest-compress-format zstd --dest-force-compress-format"),
    ] {
        let name = format!("{REGISTRY}/other/{name}");
        let force = form.replace(" --dest-force-compress-format", "");
        skopeo(&sandbox, &format!("copy -q {force} --dest-tls-verify=false {layout} docker://{name}"));
        let raw = format!("inspect --raw --tls-verify=false docker://{name}");
        let theirs = skopeo(&sandbox, &raw).stdout;
        minirun(&sandbox, &["pull", "-q", &name]).expect_code(0);
        let run = ["run", "--rm", "--network", "none", &name, "busybox", "true"];
        minirun(&sandbox, &run).expect_code(0);
        let again = format!("{REGISTRY}/again/{}", name.rsplit('/').next().unwrap());
        minirun(&sandbox, &["push", "-q", &name, &again]).expect_code(0);
        assert_eq!(skopeo(&sandbox, &raw.replace(&name, &again)).stdout, theirs, "{name}");
        skopeo(&sandbox, &format!("copy -q --src-tls-verify=false docker://{again} dir:{}", again.replace('/', "_")));
    }
}

#[test]
fn podman_pulls_what_we_push_and_we_what_it_pushes_with_one_login() {
    requires![root, tool("docker-registry"), tool("podman")];
    let sandbox = sandbox();
    std::fs::write(sandbox.path("htpasswd"), HTPASSWD).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: r, path: {:?}}}}}", sandbox.path("htpasswd"));
    let _registry = Registry::start(&sandbox, &auth);
    let dir = sandbox.path("podman").display().to_string();
    let file = sandbox.path("auth.json").display().to_string();
    let podman = |words: &str| {
        let roots = format!("--root {dir}/root --runroot {dir}/run --tmpdir {dir}/tmp --storage-driver vfs");
        sandbox
            .sh(&format!("export REGISTRY_AUTH_FILE={file}; {}", words.replace("podman", &format!("podman {roots}"))))
    };
    // it signs in, and we need not
    let (ours, theirs) = (format!("{REGISTRY}/team/ours:1"), format!("{REGISTRY}/team/theirs:1"));
    minirun(&sandbox, &["push", "-q", "busybox", &ours]).expect_code(1);
    let word = "echo word | podman login -u name --password-stdin --tls-verify=false";
    podman(&format!("{word} {REGISTRY}")).expect_code(0);
    minirun(&sandbox, &["push", "-q", "busybox", &ours]).expect_code(0);
    podman(&format!("podman pull -q --tls-verify=false {ours}")).expect_code(0);
    let id = minirun(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text();
    assert_eq!(podman("podman images -q --no-trunc").text(), id);
    let push = "podman push -q --tls-verify=false --compression-format zstd";
    podman(&format!("podman tag {ours} {theirs} && {push} {theirs}")).expect_code(0);
    minirun(&sandbox, &["pull", "-q", &theirs]).expect_code(0);
    assert_eq!(minirun(&sandbox, &["run", "--rm", "--network", "none", &theirs, "echo", "back"]).text(), "back");
    // we sign out, and it has no login any more
    minirun(&sandbox, &["logout", REGISTRY]).expect_code(0);
    assert_ne!(podman(&format!("{push} {theirs}")).code(), 0);
}

#[test]
fn all_tags_go_and_come() {
    requires![root, tool("docker-registry")];
    let sandbox = sandbox();
    let _registry = Registry::start(&sandbox, "");
    let site = format!("{REGISTRY}/team/site");
    for name in [format!("{site}:1"), format!("{site}:2"), format!("{REGISTRY}/team/other:3")] {
        minirun(&sandbox, &["tag", "busybox", &name]).expect_code(0);
    }
    let digest = digest_of(&sandbox, "busybox");
    assert_eq!(minirun(&sandbox, &["push", "-q", "-a", &site]).text(), format!("{digest}\n{digest}"));
    minirun(&sandbox, &["rmi", &format!("{site}:1"), &format!("{site}:2")]).expect_code(0);
    let pulled = minirun(&sandbox, &["pull", "-q", "-a", &site]).text();
    assert_eq!(pulled, format!("{site}:1\n{site}:2"));
    minirun(&sandbox, &["pull", &format!("{REGISTRY}/team/other:3")]).expect_code(1); // it was not of that repository
}

#[test]
fn a_blob_of_another_repository_is_mounted_from_there() {
    requires![root, tool("docker-registry")];
    let sandbox = sandbox();
    let _registry = Registry::start(&sandbox, "");
    let (first, second) = (format!("{REGISTRY}/team/first"), format!("{REGISTRY}/team/second"));
    for name in [&first, &second] {
        minirun(&sandbox, &["tag", "busybox", name]).expect_code(0);
        minirun(&sandbox, &["push", "-q", name]).expect_code(0);
    }
    // what is sent goes through _uploads, which a mount has no need of (distribution, storage/paths.go)
    let repositories = sandbox.path("registry/docker/registry/v2/repositories/team");
    assert!(repositories.join("first/_uploads").exists());
    assert!(repositories.join("second/_layers").exists() && !repositories.join("second/_uploads").exists());
}
