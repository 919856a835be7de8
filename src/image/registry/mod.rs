//! Registries: images come from them and go to them, over HTTP.
//!
//! * `config`, `proxy`, `challenge`: pure. `logins`: docker's and podman's files, and their helpers. `certificates`:
//!   whom we believe.
//! * `http`: one request and its answer; `tokens`: how a challenge is answered. `remote`: a repository's manifests and
//!   blobs. `login`: whether a password is taken.
//! * `pull`: `fetch` lets blobs grow (`arriving`), the layers are unpacked from them while they do. `push`.

mod arriving;
mod certificates;
mod challenge;
mod config;
mod fetch;
mod http;
mod login;
mod logins;
mod proxy;
mod pull;
mod push;
mod remote;
mod resumed;
mod tokens;

pub use config::{Mirror, RegistryConfig};
pub use login::check as check_login;
pub use logins::{forget as forget_login, keep as keep_login};
pub use proxy::Proxies;
pub use pull::{pull, tags};
pub use push::push;
pub use remote::{Access, Remote};

#[cfg(test)]
mod tests;
