//! A registry over TLS whose certificate nobody has signed but the test.

use crate::errors::assert_error;
use crate::support::command::output;
use crate::support::registry::{Registry, minirun, minirun_command, publish, sandbox_with_mirror};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

/// The name that the certificate is for; an address of loopback would be spoken to without TLS.
const HOST: &str = "registry.test:5000";

/// A registry at HOST that wants `clients` to show a certificate, or does not.
fn registry<'s>(sandbox: &'s Sandbox, clients: &str) -> Registry<'s> {
    let make = "cd \"$0\" && mkdir certs && cd certs && \
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=tests && \
        for name in server client; do \
          openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name && \
          echo subjectAltName=DNS:registry.test >ext && \
          openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -days 2 -extfile ext -out $name.cert; done";
    output(sandbox.command("bash").args(["-c", make]).arg(sandbox.path(""))).expect_code(0);
    // an /etc of the sandbox's own, for certs.d and the name
    let etc = "cd \"$0\" && mkdir upper work && mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work overlay /etc \
        && echo 127.0.0.1 registry.test >>/etc/hosts && mkdir -p /etc/docker/certs.d/$1";
    output(sandbox.command("bash").args(["-c", etc]).arg(sandbox.path("")).arg(HOST)).expect_code(0);
    let certs = sandbox.path("certs");
    let certs = certs.display();
    let tls = format!(
        "certificate: {certs}/server.cert, key: {certs}/server.key{}",
        clients.replace("CERTS", &certs.to_string())
    );
    Registry::start_with(sandbox, "", &format!(", tls: {{{tls}}}"))
}

#[test]
fn a_registry_that_nobody_vouches_for_is_refused_until_certs_d_does() {
    requires![root, overlay, tool("docker-registry"), tool("skopeo"), tool("openssl")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let _registry = registry(&sandbox, "");
    let image = format!("{HOST}/library/alpine");
    let said = minirun(&sandbox, &["pull", &image]).expect_code(1);
    assert_error(&said, &[HOST, "UnknownIssuer"]);
    assert!(said.stderr.contains(&format!("/etc/docker/certs.d/{HOST}/ca.crt")), "{said}");
    // by SSL_CERT_FILE, for one command
    let ca = sandbox.path("certs/ca.crt");
    assert_eq!(
        output(minirun_command(&sandbox, &["pull", "-q", &image]).env("SSL_CERT_FILE", &ca)).text(),
        format!("{image}:latest")
    );
    sandbox.sh(&format!("cp {} /etc/docker/certs.d/{HOST}/", ca.display())).expect_code(0);
    assert_eq!(minirun(&sandbox, &["pull", "-q", &image]).text(), format!("{image}:latest"));
    let push = format!("{HOST}/team/site");
    minirun(&sandbox, &["push", "-q", &image, &push]).expect_code(0);
    // what is no certificate is named
    sandbox.sh(&format!("echo >/etc/docker/certs.d/{HOST}/ca.crt")).expect_code(0);
    assert_error(&minirun(&sandbox, &["pull", &image]).expect_code(1), &["certs.d", "no certificate"]);
}

#[test]
fn a_registry_is_shown_the_certificate_that_certs_d_has_for_it() {
    requires![root, overlay, tool("docker-registry"), tool("skopeo"), tool("openssl")];
    let sandbox = sandbox_with_mirror();
    publish(&sandbox);
    let _registry = registry(&sandbox, ", clientcas: [CERTS/ca.crt]");
    let image = format!("{HOST}/library/alpine");
    let certs = sandbox.path("certs");
    let place = format!("/etc/docker/certs.d/{HOST}");
    sandbox.sh(&format!("cp {}/ca.crt {place}/", certs.display())).expect_code(0);
    assert_error(&minirun(&sandbox, &["pull", &image]).expect_code(1), &[HOST, "refuses us"]);
    sandbox
        .sh(&format!("cd {} && cp client.cert {place}/ && cp server.key {place}/client.key", certs.display()))
        .expect_code(0);
    assert_error(&minirun(&sandbox, &["pull", &image]).expect_code(1), &["client.key"]); // another's key
    sandbox.sh(&format!("cd {} && cp client.key {place}/", certs.display())).expect_code(0);
    minirun(&sandbox, &["pull", "-q", &image]).expect_code(0);
}

#[test]
fn plain_http_is_told_from_tls() {
    requires![root, overlay, tool("docker-registry")];
    let sandbox = sandbox_with_mirror();
    let etc = "cd \"$0\" && mkdir upper work && mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work overlay /etc \
        && echo 127.0.0.1 registry.test >>/etc/hosts";
    output(sandbox.command("bash").args(["-c", etc]).arg(sandbox.path(""))).expect_code(0);
    let _registry = Registry::start(&sandbox, "");
    let image = format!("{HOST}/nothing");
    let said = minirun(&sandbox, &["pull", &image]).expect_code(1);
    assert_error(&said, &[HOST, "TLS"]);
    std::fs::write(sandbox.path("config.toml"), format!("insecure = [{HOST:?}]\n")).unwrap();
    assert_error(&minirun(&sandbox, &["pull", &image]).expect_code(1), &["no such image"]); // the control
    assert!(said.stderr.contains("insecure = "), "{said}");
}
