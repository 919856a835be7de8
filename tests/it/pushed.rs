//! Images that go into a registry and come back: Debian's docker-registry, with skopeo and curl as the other side.

use crate::support::command::Output;
use crate::support::registry::{REGISTRY, Registry, minirun, sandbox_with_mirror};
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
