//! Login: whether a registry takes a name and a password.

use super::config::RegistryConfig;
use super::http::{Ask, Failure, REACH, Registry, refusal};
use super::logins::{Login, Logins, basic};
use crate::error::{Error, Result};

/// Shows name and password to the registry, the way it wants to see them.
pub fn check(registry: &str, name: &str, password: &str, config: &RegistryConfig) -> Result<()> {
    let endpoint = config.endpoint(registry);
    let alone = RegistryConfig { logins: Logins::only(basic(name, password)), ..config.clone() };
    let checked = Registry::connect(&endpoint, Vec::new(), &alone, REACH).and_then(|connected| {
        let url = format!("{}/v2/", endpoint.base);
        let response = connected.once(&Ask::get(&url, &[]))?;
        // some give a token to anybody, and look at it here
        match response.status().as_u16() {
            401 | 403 => Err(refusal(response, &url).into()),
            _ => Ok(()),
        }
    });
    checked.map_err(|failure| match failure {
        Failure::Absent(reason) | Failure::Silent(reason) | Failure::Unreachable(reason) => {
            Error::host(format!("registry {registry} cannot be reached ({reason})"))
                .hint("is it written as in an image's name? docker.io, ghcr.io, host:5000")
        }
        Failure::Refused(e) if e.message.contains("answers 40") => {
            Error::user(format!("registry {registry} does not take this name and password: {e}"))
                .hint("many registries want a token of their web page in place of the password")
        }
        Failure::Refused(e) => e,
    })
}

impl Logins {
    /// This one, whatever is asked for.
    fn only(login: Login) -> Logins {
        Logins { any: Some(login), ..Logins::default() }
    }
}
