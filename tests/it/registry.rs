//! An image from a registry: Debian's docker-registry inside the sandbox, a mirror of docker.io, holding an image that
//! the test made. It is called library/alpine there, for that is what people type; its content is our busybox image,
//! a stand-in, and nothing of Alpine.

use crate::errors::assert_error;
use crate::support::command::{Running, output, seconds};
use crate::support::registry::{
    HTPASSWD, LOGIN, REGISTRY, Registry, TOKENS, WRONG_LOGIN, answers, log_in, minirun, publish, sandbox_with_mirror,
};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use std::path::PathBuf;
use std::time::Instant;

/// The image's blobs in the registry's storage, the largest, which is the layer, first.
fn blobs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let list = "find registry/docker/registry/v2/blobs -name data -printf '%s %p\\n' | sort -rn | cut -d' ' -f2";
    let text = sandbox.sh(&format!("cd {} && {list}", sandbox.path("").display())).text();
    text.lines().map(|path| sandbox.path(path)).collect()
}

const RUN: &[&str] =
    &["run", "--rm", "--network", "none", "alpine", "sh", "-c", "echo $$: $(busybox | head -n 1 | cut -c 1-7)"];
const RAN: &str = "1: BusyBox";

#[test]
fn an_image_is_pulled_once_and_runs() {
    requires![root, tool("docker-registry"), tool("skopeo")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let registry = Registry::start(&sandbox, "");
    assert_eq!(minirun(&sandbox, RUN).text(), RAN);
    let images = minirun(&sandbox, &["images"]).text();
    assert!(images.lines().any(|line| line.starts_with("alpine ") && line.contains(" latest ")), "{images}");
    // by its digest it is there, and not by the tag beside that
    let digest = minirun(&sandbox, &["inspect", "--format", "{{.Digest}}", "alpine"]).text();
    minirun(&sandbox, &["rmi", "alpine"]).expect_code(0);
    minirun(&sandbox, &["pull", &format!("alpine:latest@{digest}")]).expect_code(0);
    let images = ["images", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"];
    assert_eq!(minirun(&sandbox, &images).text(), format!("alpine <none> {digest}"));
    let fields = "{{json .RepoTags}} {{json .RepoDigests}} {{json .Author}} {{json .Comment}} {{json .Variant}}";
    let said = minirun(&sandbox, &["inspect", "--format", fields, &format!("alpine@{digest}")]).text();
    assert!(said.starts_with(&format!(r#"[] ["alpine@{digest}"] ""#)), "{said}");
    minirun(&sandbox, &["inspect", "alpine:latest"]).expect_code(1);
    assert_eq!(minirun(&sandbox, RUN).text(), RAN);
    registry.stop();
    assert_eq!(minirun(&sandbox, RUN).text(), RAN, "what is here is not asked for again");
    // the control: who asks gets no answer any more
    minirun(&sandbox, &["run", "--rm", "--pull", "always", "alpine", "true"]).expect_code(125);
}

#[test]
fn an_image_for_another_platform_is_not_the_one_that_was_asked_for() {
    requires![root, tool("docker-registry"), tool("skopeo")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let platform = format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let tar = format!("tar -c -C {} registry.yml", sandbox.path("").display());
    let import = format!("{tar} | {} import --platform linux/s390x - alpine", minirun_binary().display());
    let id = sandbox.sh(&import).text();
    let says = format!("image alpine is for linux/s390x, not {platform}");
    let with = |flags: &[&str], image: &str| {
        let run = ["run", "--rm", "--network", "none", "--platform", &platform];
        minirun(&sandbox, &[&run[..], flags, &[image], &RUN[5..]].concat())
    };
    assert_error(&with(&["--pull", "never"], "alpine").expect_code(125), &[&says]);
    assert_error(&with(&["--explain"], "alpine").expect_code(125), &[&says]);
    assert_error(&with(&[], "alpine").expect_code(125), &[&says, "cannot be reached"]);
    let registry = Registry::start(&sandbox, "");
    // an id is no name of another one
    assert_error(&with(&[], &id[..19]).expect_code(125), &["is for linux/s390x"]);
    assert_eq!(with(&[], "alpine").text(), RAN);
    registry.stop();
    assert_eq!(with(&["--pull", "never"], "alpine").text(), RAN, "the control: it is here now");
    assert_error(
        &minirun(&sandbox, &["run", "--rm", "--platform", "s390x", "hello"]).expect_code(125),
        &["image hello is"],
    );
}

#[test]
fn a_damaged_blob_is_named_and_nothing_of_it_kept() {
    requires![root, tool("docker-registry"), tool("skopeo"), tool("nft")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let _registry = Registry::start(&sandbox, "");
    minirun(&sandbox, &["run", "--rm", "hello"]).expect_code(0);
    // makes the store, and the lock of the layer's directory, which stays
    minirun(&sandbox, &["pull", "alpine"]).expect_code(0);
    minirun(&sandbox, &["rmi", "alpine"]).expect_code(0);
    let before = Snapshot::of(&sandbox);
    let blobs = blobs(&sandbox);
    assert_eq!(blobs.len(), 3, "{blobs:?}");
    let configuration =
        blobs[1..].iter().find(|blob| std::fs::read_to_string(blob).unwrap().contains("rootfs")).unwrap();
    for (blob, damage) in [
        (&blobs[0], "printf x | dd of=data bs=1 seek=1000 conv=notrunc 2>/dev/null"),
        (&blobs[0], "truncate -s -1 data"),
        (&blobs[0], "echo >>data"),
        (configuration, "sed -i s/linux/Linux/ data"),
    ] {
        let dir = blob.parent().unwrap();
        let whole = std::fs::read(blob).unwrap();
        sandbox.sh(&format!("cd {} && {damage}", dir.display())).expect_code(0);
        let said = minirun(&sandbox, RUN).expect_code(125);
        assert_error(&said, &[dir.file_name().unwrap().to_str().unwrap(), "pulling alpine"]);
        eprintln!("left by {damage:?}?"); // shown where the next line fails
        before.assert_same(&sandbox);
        std::fs::write(blob, whole).unwrap();
    }
    assert_eq!(minirun(&sandbox, RUN).text(), RAN, "the control: whole again, it runs");
}

#[test]
fn without_network_an_image_that_is_not_here_is_said_within_5_seconds() {
    requires![root];
    let sandbox = sandbox_with_mirror();
    for settings in ["config.toml", "no-such-file"] {
        let began = Instant::now();
        let mut command = sandbox.minirun_command(RUN);
        let said = output(command.env("MINIRUN_CONFIG", sandbox.path(settings))).expect_code(125);
        assert!(began.elapsed() < seconds(5), "{said}");
        // why differs: libcs differ in how they take a name server that cannot be reached
        let why = said.stderr.strip_prefix("error: image alpine is not here and its registry cannot be reached (");
        let why = why.and_then(|rest| {
            rest.strip_suffix(
                ")\nhint: offline you can run hello and the images built from images/, or minirun load -i FILE\n",
            )
        });
        assert!(why.is_some_and(|why| !why.contains('\n') && why.starts_with("registry-1.docker.io: ")), "{said}");
    }
}

#[test]
fn a_registry_with_a_password_is_given_the_nearest_login() {
    requires![root, tool("docker-registry"), tool("skopeo")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    std::fs::write(sandbox.path("htpasswd"), HTPASSWD).unwrap();
    let _registry =
        Registry::start(&sandbox, &format!("auth: {{htpasswd: {{realm: r, path: {:?}}}}}", sandbox.path("htpasswd")));
    let said = minirun(&sandbox, RUN).expect_code(125);
    assert_error(&said, &[REGISTRY, "password"]);
    log_in(&sandbox, "home/.docker/config.json", WRONG_LOGIN);
    let said = minirun(&sandbox, RUN).expect_code(125);
    assert_error(&said, &[REGISTRY, "401"]);
    log_in(&sandbox, "docker/config.json", LOGIN); // $DOCKER_CONFIG goes before the home directory
    assert_eq!(minirun(&sandbox, RUN).text(), RAN);
    log_in(&sandbox, "auth.json", WRONG_LOGIN); // and $REGISTRY_AUTH_FILE before both
    minirun(&sandbox, &["pull", "alpine"]).expect_code(1);
}

#[test]
fn a_registry_that_wants_a_token_is_shown_one() {
    requires![root, tool("docker-registry"), tool("skopeo"), tool("openssl")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let home = sandbox.path("");
    sandbox.sh(&format!("cd {} && {TOKEN}", home.display())).expect_code(0);
    let serve = format!("cd {} && exec busybox httpd -f -p {TOKENS} -h tokens -c ../httpd.conf", home.display());
    let _tokens = Running::start(sandbox.command("bash").args(["-c", &serve]));
    answers(&sandbox, TOKENS);
    let auth = format!(
        "auth: {{token: {{realm: \"http://{TOKENS}/token\", service: registry, issuer: tests, rootcertbundle: {:?}}}}}",
        sandbox.path("cert.pem")
    );
    let _registry = Registry::start(&sandbox, &auth);
    let said = minirun(&sandbox, RUN).expect_code(125);
    assert_error(&said, &[TOKENS, "401"]);
    log_in(&sandbox, "auth.json", LOGIN);
    assert_eq!(minirun(&sandbox, RUN).text(), RAN);
    // the token is for one image
    assert_error(&minirun(&sandbox, &["run", "--rm", "debian", "true"]).expect_code(125), &["401"]);
}

/// Makes the file `tokens/token`, which the token server gives to who logs in, whatever the query: a JSON Web Token
/// that says "may pull library/alpine", signed with the key of cert.pem (distribution's docs/spec/auth/jwt.md).
const TOKEN: &str = r#"set -eo pipefail; mkdir tokens; echo /:name:word >httpd.conf
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=tests 2>/dev/null
url() { base64 -w 0 | tr +/ -_ | tr -d =; }
head=$(printf '{"typ":"JWT","alg":"RS256","x5c":["%s"]}' "$(openssl x509 -in cert.pem -outform DER | base64 -w 0)" | url)
claims=$(printf '{"iss":"tests","aud":"registry","sub":"name","jti":"1","nbf":1,"exp":%d,"access":%s}' \
  $(($(date +%s) + 3600)) '[{"type":"repository","name":"library/alpine","actions":["pull"]}]' | url)
signature=$(printf %s "$head.$claims" | openssl dgst -sha256 -sign key.pem -binary | url)
printf '{"token":"%s"}' "$head.$claims.$signature" >tokens/token"#;
