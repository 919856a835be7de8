//! How a challenge is answered: with a password, or with a token that a password or an identity token buys.
//! distribution's docs/spec/auth: token.md (GET) and oauth.md (POST).

use super::challenge::{Challenge, encode};
use super::http::{Ask, Failure, Registry, host_of, log_in, read_bounded, refusal};
use super::logins::Login;
use crate::error::{Error, Result};
use std::io::Cursor;
use ureq::http::Method;

/// Tokens are a few KiB.
const MAX_TOKEN: u64 = 1 << 20;

impl Registry<'_> {
    /// The Authorization header that answers a challenge.
    pub(super) fn answer(&self, challenge: Option<Challenge>) -> Result<String, Failure> {
        let host = &self.endpoint.host;
        let repository = self.scopes.first().and_then(|scope| scope.split(':').nth(1)).unwrap_or_default();
        let login = self.config.logins.of(host, repository)?;
        match (challenge, login) {
            (Some(Challenge::Bearer { realm, service }), login) => {
                self.check_scheme(&realm)?;
                let token = self.token(&realm, &service.unwrap_or_default(), login.as_ref())?;
                Ok(format!("Bearer {token}"))
            }
            (Some(Challenge::Basic), Some(Login::Basic(auth))) => Ok(format!("Basic {auth}")),
            (Some(Challenge::Basic) | None, _) => {
                Err(Error::user(format!("registry {host} wants a password")).hint(log_in(host)).into())
            }
        }
    }

    fn token(&self, realm: &str, service: &str, login: Option<&Login>) -> Result<String, Failure> {
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = match login {
            Some(Login::Identity(identity)) => {
                let form = format!(
                    "grant_type=refresh_token&client_id=minirun&service={}&scope={}&refresh_token={}",
                    encode(service),
                    encode(&self.scopes.join(" ")),
                    encode(identity)
                );
                let open = || -> Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(Cursor::new(form.clone()))) };
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                let body = Some((form.len() as u64, &open as super::http::Open<'_>));
                let ask = Ask { method: Method::POST, url: realm, headers: &headers, body };
                self.send(&ask, realm, None, None)?
            }
            login => {
                let separator = if realm.contains('?') { '&' } else { '?' };
                let mut url = format!("{realm}{separator}");
                if !service.is_empty() {
                    url.push_str(&format!("service={}&", encode(service)));
                }
                for scope in &self.scopes {
                    url.push_str(&format!("scope={}&", encode(scope)));
                }
                let url = url.trim_end_matches(['&', '?']);
                let basic = login.map(|login| match login {
                    Login::Basic(auth) | Login::Identity(auth) => format!("Basic {auth}"),
                });
                self.send(&Ask::get(url, &[]), url, basic.as_deref(), None)?
            }
        };
        if response.status() != 200 {
            return Err(refusal(response, realm).into());
        }
        let token: Option<Token> = serde_json::from_slice(&read_bounded(response, MAX_TOKEN)?).ok();
        token
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| Error::image(format!("{} gave no token", host_of(realm))).into())
    }
}
