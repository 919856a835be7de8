//! Logins to registries, in the files and by the helpers of docker and podman: looked up, kept and forgotten. The
//! helper is the caller's own program, by the name that the caller's own file gives (docs.docker.com, "Credential
//! stores"); its words and the files' are secrets and stand in no error.

use super::config::DOCKER_HUB;
use crate::error::{During as _, Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::record::{Durability, Lock};
use crate::sys::{fs, host, record};
use serde_json::{Map, Value, json};

/// What docker.io is called in docker's files and by its helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// A login by an identity token has this for a user name (docker/cli, cli/config/credentials).
const TOKEN_USER: &str = "<token>";

/// What is shown to a registry, or to who gives out its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// Name and password, as they stand behind `Authorization: Basic`.
    Basic(String),
    /// An identity token.
    Identity(String),
}

/// Where logins may be found.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// The files as they were read, the nearest first.
    pub(super) files: Vec<Value>,
    /// One that is tried whatever is asked for.
    pub(super) any: Option<Login>,
}

/// No secrets in anybody's debug output.
impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logins({} files)", self.files.len())
    }
}

impl Logins {
    /// Adds a docker `config.json` or podman `auth.json`. What an earlier file says of a registry counts.
    pub fn add(&mut self, text: &str) -> Result<()> {
        self.files.push(parse(text)?);
        Ok(())
    }

    /// The login for a repository of a registry.
    pub(super) fn of(&self, host: &str, repository: &str) -> Result<Option<Login>> {
        if self.any.is_some() {
            return Ok(self.any.clone());
        }
        for file in &self.files {
            let kept = helper(file, host).map_or(Ok(None), |helper| asked(helper, host))?;
            if let Some(login) = kept.or_else(|| entry(file, host, repository)) {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

/// Name and password behind `Authorization: Basic`.
pub(super) fn basic(name: &str, password: &str) -> Login {
    Login::Basic(base64(format!("{name}:{password}").as_bytes()))
}

/// Keeps a login where the first of these files says: in the helper that it names, else in the file itself.
pub fn keep(file: &HostPath, registry: &str, name: &str, password: &str) -> Result<()> {
    change(file, |config| {
        let key = key_of(registry);
        if let Some(helper) = helper(config, registry) {
            let words = json!({"ServerURL": key, "Username": name, "Secret": password});
            helper_says(helper, "store", &words.to_string())?;
            return Ok(false);
        }
        let (Login::Basic(auth) | Login::Identity(auth)) = basic(name, password);
        let auths = config.as_object_mut().map(|config| config.entry("auths").or_insert_with(|| json!({})));
        let auths = auths.and_then(Value::as_object_mut).ok_or_else(|| broken("auths"))?;
        auths.insert(key.to_owned(), json!({ "auth": auth }));
        Ok(true)
    })
}

/// Takes a registry's login out of the file and of its helper; whether there was one.
pub fn forget(file: &HostPath, registry: &str) -> Result<bool> {
    let mut there = false;
    if !fs::exists(file.as_path()) {
        return Ok(false);
    }
    change(file, |config| {
        if let Some(helper) = helper(config, registry) {
            there = asked(helper, registry)?.is_some();
            if there {
                helper_says(helper, "erase", key_of(registry))?;
            }
        }
        let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        let before = auths.len();
        auths.retain(|key, _| normal(key) != registry);
        there |= auths.len() < before;
        Ok(auths.len() < before)
    })?;
    Ok(there)
}

/// Reads, changes and replaces a file of logins, mode 0600; whatever else stands in it stays. Where a link leads to the
/// file, as from a directory of settings under version control, the link stays.
fn change(file: &HostPath, change: impl FnOnce(&mut Value) -> Result<bool>) -> Result<()> {
    let path = std::fs::canonicalize(file.as_path()).unwrap_or_else(|_| file.as_path().to_owned());
    let dir = path.parent().ok_or_else(|| Error::user(format!("{file} is no file")))?;
    fs::mkdir_all(dir, 0o700).during(|| file)?;
    let _lock = Lock::directory(dir)?;
    let mut config = match fs::read_text(&path) {
        Ok(text) if !text.trim().is_empty() => parse(&text).during(|| file)?,
        Err(e) if e.errno != Errno::ENOENT => return Err(Error::from(e)),
        _ => Value::Object(Map::new()),
    };
    if change(&mut config).during(|| file)? {
        let text = serde_json::to_vec_pretty(&config).map_err(|e| Error::internal(e.to_string()))?;
        let owner = fs::stat(&path).ok().map(|before| before.st_uid);
        record::write(&path, &text, Durability::Disk)?;
        if let Some(owner) = owner {
            fs::chown_fd(&fs::open_read(&path)?, owner)?; // sudo minirun login: the file stays the caller's
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Value> {
    let value: Option<Value> = serde_json::from_str(text).ok();
    value.filter(Value::is_object).ok_or_else(|| broken("it"))
}

/// Nothing of the file in the error: it holds secrets.
fn broken(what: &str) -> Error {
    Error::user(format!("the file of logins: {what} is no JSON object")).hint("mend or remove the file")
}

/// What stands in `auths` for the repository, the most exact first (containers-auth.json(5)).
fn entry(file: &Value, host: &str, repository: &str) -> Option<Login> {
    let auths = file.get("auths")?.as_object()?;
    let mut wanted = format!("{}/{repository}", normal(host));
    loop {
        let found = auths.iter().filter(|(key, _)| normal(key) == wanted).find_map(|(_, entry)| login(entry));
        match (found, wanted.rfind('/')) {
            (None, Some(slash)) => wanted.truncate(slash),
            (found, _) => return found,
        }
    }
}

fn login(entry: &Value) -> Option<Login> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Login::Identity(token.to_owned()));
    }
    match (text("auth"), text("username"), text("password")) {
        (Some(auth), ..) => is_base64(auth).then(|| Login::Basic(auth.to_owned())),
        (None, Some(name), Some(password)) => Some(basic(name, password)),
        _ => None,
    }
}

/// A registry as it is written in names, of what files call it: `https://index.docker.io/v1/`, `https://ghcr.io`.
fn normal(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = if host == "index.docker.io" || host == DOCKER_HUB { "docker.io" } else { host };
    path.map_or(host.to_owned(), |path| format!("{host}/{path}"))
}

/// What the registry is called in docker's files.
fn key_of(registry: &str) -> &str {
    if normal(registry) == "docker.io" { HUB_KEY } else { registry }
}

/// The helper that keeps the logins of this registry.
fn helper<'f>(file: &'f Value, host: &str) -> Option<&'f str> {
    let helpers = file.get("credHelpers").and_then(Value::as_object);
    let own = helpers.and_then(|all| all.iter().find(|(key, _)| normal(key) == normal(host)).map(|(_, name)| name));
    own.or(file.get("credsStore")).and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// What a helper has for the registry.
fn asked(helper: &str, registry: &str) -> Result<Option<Login>> {
    let Some(text) = helper_says(helper, "get", key_of(registry))? else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    match (value["Username"].as_str(), value["Secret"].as_str()) {
        (Some(TOKEN_USER), Some(token)) => Ok(Some(Login::Identity(token.to_owned()))),
        (Some(name), Some(password)) => Ok(Some(basic(name, password))),
        _ => Err(Error::user(format!("docker-credential-{helper} gave neither login nor error"))),
    }
}

/// `None` where the helper says that it has nothing of the kind.
fn helper_says(helper: &str, verb: &str, words: &str) -> Result<Option<String>> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(Error::user(format!("the file of logins names a helper {helper:?}, which is no program's name")));
    }
    let program = format!("docker-credential-{helper}");
    let said = host::credential_helper(&program, verb, words).map_err(|e| {
        Error::from(e).kind(crate::error::Kind::User).hint("install it, or take its name out of the file of logins")
    })?;
    match said {
        Ok(text) => Ok(Some(text)),
        Err(text) if verb == "get" && text.contains("credentials not found") => Ok(None),
        Err(text) => {
            let text = text.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
            Err(Error::user(format!("{program} {verb}: {text}")))
        }
    }
}

/// It goes into a header as it is.
fn is_base64(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let known = digit <= three.len();
            out.push(if known { char::from(DIGITS[bits >> (18 - 6 * digit) & 63]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(files: &[Value]) -> Logins {
        let mut logins = Logins::default();
        files.iter().for_each(|file| logins.add(&file.to_string()).unwrap());
        logins
    }

    #[test]
    fn logins_are_found_by_registry_and_namespace() {
        let near = json!({"auths": {
            HUB_KEY: {"auth": "aHVi"}, "ghcr.io": {"auth": "a\r\nX: y"}, "x": {}, "quay.io/team/app": {"auth": "YXBw"},
            "quay.io/team": {"auth": "dGVhbQ=="}, "quay.io": {"username": "u", "password": "p"},
            "https://old.io/v2/": {"auth": "b2xk"}, "azure.io": {"auth": "eA==", "identitytoken": "long"},
        }});
        let far = json!({"auths": {"docker.io": {"auth": "ZmFy"}, "far.io": {"auth": "ZmFy"}}});
        let logins = logins(&[near, far]);
        let basic = |auth: &str| Some(Login::Basic(auth.to_owned()));
        for (host, repository, wanted) in [
            ("registry-1.docker.io", "library/alpine", basic("aHVi")),
            ("ghcr.io", "a/b", None),
            ("x", "a", None),
            ("quay.io", "team/app", basic("YXBw")),
            ("quay.io", "team/application", basic("dGVhbQ==")),
            ("quay.io", "teams", basic("dTpw")),
            ("old.io", "a", basic("b2xk")),
            ("far.io", "a", basic("ZmFy")),
            ("azure.io", "a", Some(Login::Identity("long".into()))),
        ] {
            assert_eq!(logins.of(host, repository).unwrap(), wanted, "{host}/{repository}");
        }
        let error = Logins::default().add("[\"secret\"]").unwrap_err();
        assert!(!error.message.contains("secret"), "{error}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_helper_is_a_name_and_no_path() {
        let logins = logins(&[json!({"credHelpers": {"x.io": "../evil"}})]);
        assert!(logins.of("x.io", "a").unwrap_err().message.contains("no program's name"));
        assert_eq!(logins.of("y.io", "a").unwrap(), None);
    }

    #[test]
    fn what_else_stands_in_the_file_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.json");
        std::fs::write(&real, r#"{"psFormat": "x", "auths": {"https://a.io/v1/": {"auth": "YTpi"}}}"#).unwrap();
        let link = dir.path().join("config.json");
        fs::symlink("real.json", &link).unwrap();
        let file = HostPath::parse(link.to_str().unwrap()).unwrap();
        keep(&file, "docker.io", "me", "word").unwrap();
        let kept: Value = serde_json::from_slice(&std::fs::read(&real).unwrap()).unwrap();
        let auths = json!({"https://a.io/v1/": {"auth": "YTpi"}, HUB_KEY: {"auth": "bWU6d29yZA=="}});
        assert_eq!(kept, json!({"psFormat": "x", "auths": auths}));
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink());
        assert!(forget(&file, "a.io").unwrap());
        assert!(!forget(&file, "a.io").unwrap());
        assert!(forget(&file, "docker.io").unwrap());
        let kept: Value = serde_json::from_slice(&std::fs::read(&real).unwrap()).unwrap();
        assert_eq!(kept, json!({"psFormat": "x", "auths": {}}));
    }
}
