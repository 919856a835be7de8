//! `login` and `logout`: at a registry with a password, in docker's file, and with a helper of docker's protocol.

use crate::errors::assert_error;
use crate::support::command::{Running, output};
use crate::support::registry::{HTPASSWD, REGISTRY, Registry, minirun, minirun_command, sandbox_with_mirror};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout};
use crate::support::terminal::Terminal;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// A registry that knows `name` with the password `word`.
fn registry(sandbox: &Sandbox) -> Registry<'_> {
    std::fs::write(sandbox.path("htpasswd"), HTPASSWD).unwrap();
    Registry::start(sandbox, &format!("auth: {{htpasswd: {{realm: r, path: {:?}}}}}", sandbox.path("htpasswd")))
}

#[track_caller]
fn log_in(sandbox: &Sandbox, password: &str) -> crate::support::command::Output {
    let mut command = minirun_command(sandbox, &["login", "-u", "name", "--password-stdin", REGISTRY]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    running.write(password);
    running.output()
}

#[test]
fn a_login_is_checked_kept_used_and_forgotten() {
    requires![root, tool("docker-registry")];
    let sandbox = sandbox_with_mirror();
    minirun(&sandbox, &["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]).expect_code(0);
    let _registry = registry(&sandbox);
    let file = sandbox.path("auth.json");
    std::fs::write(&file, r#"{"kept": {"as": "it is"}}"#).unwrap();
    let push = ["push", "-q", "busybox", &format!("{REGISTRY}/site")];
    assert_error(&minirun(&sandbox, &push).expect_code(1), &[REGISTRY, "password"]);
    assert_error(&log_in(&sandbox, "wrong\n").expect_code(1), &["does not take this name and password"]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("auths"), "what is wrong is not kept");
    assert_eq!(log_in(&sandbox, "word\n").text(), "Login Succeeded");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(r#""as": "it is""#) && kept.contains("bmFtZTp3b3Jk"), "{kept}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    minirun(&sandbox, &push).expect_code(0);
    let logout = ["logout", REGISTRY];
    assert_eq!(minirun(&sandbox, &logout).text(), format!("Removed the login to {REGISTRY}"));
    assert_eq!(minirun(&sandbox, &logout).text(), format!("Not logged in to {REGISTRY}"));
    assert_error(&minirun(&sandbox, &push).expect_code(1), &[REGISTRY, "password"]);
}

#[test]
fn a_password_that_is_typed_is_not_seen() {
    requires![root, tool("docker-registry")];
    let sandbox = sandbox_with_mirror();
    let _registry = registry(&sandbox);
    let mut terminal = Terminal::start(&minirun_command(&sandbox, &["login", REGISTRY]));
    terminal.expect("Username: ");
    terminal.write("name\n");
    terminal.expect("Password: ");
    terminal.write("word\n");
    terminal.expect("Login Succeeded");
    let screen = terminal.screen();
    assert!(screen.contains("name") && !screen.contains("word\r"), "{screen:?}");
    terminal.child.wait().unwrap();
    assert!(terminal.is_cooked());
}

/// Keeps each password in a file, as docker's own helpers keep them in a keyring.
const HELPER: &str = r#"#!/bin/bash
cd "$(dirname "$0")" || exit
words=$(cat)
echo "$1 $words" >>said
case $1 in
  store) echo "$words" >secret ;;
  get) [ -e secret ] && cat secret || { echo 'credentials not found in native keychain'; exit 1; } ;;
  erase) rm secret ;;
esac"#;

#[test]
fn a_helper_keeps_the_password_and_the_file_does_not() {
    requires![root, tool("docker-registry")];
    let sandbox = sandbox_with_mirror();
    let _registry = registry(&sandbox);
    let dir = sandbox.path("helper");
    std::fs::create_dir(&dir).unwrap();
    let helper = dir.join("docker-credential-tests");
    std::fs::write(&helper, HELPER).unwrap();
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    let settings = format!(r#"{{"credHelpers": {{"{REGISTRY}": "tests"}}}}"#);
    std::fs::write(sandbox.path("auth.json"), &settings).unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let pull = ["pull", &format!("{REGISTRY}/nothing")];
    let run = |args: &[&str]| output(minirun_command(&sandbox, args).env("PATH", &path));
    assert_error(&run(&pull).expect_code(1), &["password"]);
    let mut command = minirun_command(&sandbox, &["login", "-u", "name", "--password-stdin", REGISTRY]);
    let mut running = Running::start(command.env("PATH", &path).stdin(Stdio::piped()));
    running.write("word");
    running.output().expect_code(0);
    assert_eq!(std::fs::read_to_string(sandbox.path("auth.json")).unwrap(), settings);
    assert_error(&run(&pull).expect_code(1), &["no such image"]); // it may look now
    assert_eq!(run(&["logout", REGISTRY]).text(), format!("Removed the login to {REGISTRY}"));
    assert_error(&run(&pull).expect_code(1), &["password"]);
    let said = std::fs::read_to_string(dir.join("said")).unwrap();
    assert!(said.contains(&format!("get {REGISTRY}\n")) && said.contains(&format!("erase {REGISTRY}\n")), "{said}");
    // one that is not there is named
    let said = minirun(&sandbox, &pull).expect_code(1);
    assert_error(&said, &["docker-credential-tests"]);
}
