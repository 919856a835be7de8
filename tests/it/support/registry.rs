//! Debian's docker-registry inside a sandbox, and a minirun there that takes it for docker.io's mirror.

use super::command::{Output, Running, eventually, output, seconds};
use super::sandbox::{Sandbox, image_layout};
use std::process::Command;

/// Each sandbox has a loopback of its own, so no two tests meet on these ports.
pub const REGISTRY: &str = "127.0.0.1:5000";
pub const TOKENS: &str = "127.0.0.1:5001";
/// The one account: name and word, as docker's config.json has them, base64, and as htpasswd has them, with what
/// `perl -e 'print crypt("word", q($2b$04$abcdefghijklmnopqrstuu))'` prints: docker-registry reads bcrypt alone.
pub const LOGIN: &str = "bmFtZTp3b3Jk";
pub const WRONG_LOGIN: &str = "bmFtZTp3cm9uZw==";
pub const HTPASSWD: &str = "name:$2b$04$abcdefghijklmnopqrstuuB/GrfUOm5dtrEiT8lcouu5XB5ftbWLi\n";

/// A registry that runs; it ends with its sandbox, or by [`Registry::stop`].
pub struct Registry<'s> {
    sandbox: &'s Sandbox,
    running: Running,
}

impl<'s> Registry<'s> {
    /// `auth` is the section of that name of its configuration (distribution's docs/configuration.md).
    pub fn start(sandbox: &'s Sandbox, auth: &str) -> Registry<'s> {
        Registry::start_with(sandbox, auth, "")
    }

    /// `http` goes into the section of that name.
    pub fn start_with(sandbox: &'s Sandbox, auth: &str, http: &str) -> Registry<'s> {
        let settings = sandbox.path("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: \"{REGISTRY}\"{http}}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\n{auth}\n",
            sandbox.path("registry")
        );
        std::fs::write(&settings, text).unwrap();
        let running = Running::start(sandbox.command("docker-registry").arg("serve").arg(&settings));
        let registry = Registry { sandbox, running };
        answers(sandbox, REGISTRY);
        registry
    }

    /// Ends it by its pid; afterwards nobody listens.
    pub fn stop(self) {
        let pid = self.sandbox.inner_pid(&self.running).to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        self.running.output().expect_code(137);
        self.sandbox.sh(&format!("exec 3<>/dev/tcp/{}", REGISTRY.replace(':', "/"))).expect_code(1);
    }
}

/// Waits until somebody accepts connections at this address of the sandbox.
pub fn answers(sandbox: &Sandbox, address: &str) {
    let connect = format!("(exec 3<>/dev/tcp/{}) 2>/dev/null", address.replace(':', "/"));
    eventually(address, seconds(20), || sandbox.sh(&connect).code() == 0);
}

/// A sandbox whose minirun takes a registry on loopback for docker.io's mirror.
pub fn sandbox_with_mirror() -> Sandbox {
    let sandbox = Sandbox::new();
    let settings = format!("[[mirror]]\nhost = \"docker.io\"\nurl = \"http://{REGISTRY}\"\n");
    std::fs::write(sandbox.path("config.toml"), settings).unwrap();
    sandbox
}

/// minirun with that mirror, and with no logins but those of [`log_in`].
#[track_caller]
pub fn minirun(sandbox: &Sandbox, args: &[&str]) -> Output {
    output(&mut minirun_command(sandbox, args))
}

/// The same, not yet started.
pub fn minirun_command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.minirun_command(args);
    command.env("MINIRUN_CONFIG", sandbox.path("config.toml")).env("DOCKER_CONFIG", sandbox.path("docker"));
    command.env("REGISTRY_AUTH_FILE", sandbox.path("auth.json")).env("HOME", sandbox.path("home"));
    command
}

/// Writes the file of logins that `name` is, below the sandbox's directory.
pub fn log_in(sandbox: &Sandbox, name: &str, login: &str) {
    let file = sandbox.path(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!(r#"{{"auths": {{"{REGISTRY}": {{"auth": "{login}"}}}}}}"#)).unwrap();
}

/// Puts the stand-in into the registry's storage as library/alpine:latest.
pub fn publish(sandbox: &Sandbox) {
    let registry = Registry::start(sandbox, "");
    let from = format!("oci:{}", image_layout("busybox").display());
    let to = format!("docker://{REGISTRY}/library/alpine:latest");
    sandbox.sh(&format!("skopeo copy -q --insecure-policy --dest-tls-verify=false {from} {to}")).expect_code(0);
    registry.stop();
}
