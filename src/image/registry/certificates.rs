//! Whom we believe over TLS: the host's certificate store (or SSL_CERT_FILE), and for one registry what docker and
//! podman keep for it in certs.d.

use crate::error::{During as _, Error, Result};
use crate::sys::fs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// `HOST:PORT/*.crt` are believed; `NAME.cert` and `NAME.key` are what we show of ourselves (docs.docker.com, "Verify
/// repository client with certificates"; containers-certs.d(5)).
const PLACES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// TLS by ring for a host and its port. The host's own store is read once: it is some hundred files.
pub(super) fn of(host: &str) -> Result<TlsConfig> {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    let own = ROOTS.get_or_init(|| {
        let certificates = rustls_native_certs::load_native_certs().certs;
        certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
    });
    let (mut roots, mut client) = (own.clone(), None);
    let host = if host == super::config::DOCKER_HUB { super::super::reference::DEFAULT_REGISTRY } else { host };
    for place in PLACES {
        let dir = Path::new(place).join(host);
        for name in fs::list(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            if name.ends_with(".crt") {
                roots.extend(certificates(&path)?.iter().map(|der| Certificate::from_der(der).to_owned()));
            } else if name.ends_with(".cert") {
                client = Some(client_certificate(&path)?);
            }
        }
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots.into_iter()))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&fs::read(path)?).filter_map(|one| one.ok()).collect();
    match found.is_empty() {
        true => Err(Error::host(format!("{} holds no certificate", path.display())).hint("it must be in PEM")),
        false => Ok(found),
    }
}

/// The certificate and its key, which must belong together: rustls panics over a pair that does not.
fn client_certificate(path: &Path) -> Result<ClientCert> {
    let (chain, key) = (certificates(path)?, path.with_extension("key"));
    let pem = fs::read(&key).during(|| format!("the key of {}", path.display()))?;
    let wrong = |e: String| Error::host(format!("{}: {e}", key.display())).hint("NAME.cert and NAME.key are a pair");
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong("no private key in PEM".to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain.clone(), der, &provider).map_err(|e| wrong(e.to_string()))?;
    let key = PrivateKey::from_pem(&pem).map_err(|e| wrong(e.to_string()))?;
    let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// What to do about a server that we cannot believe.
pub(super) fn refusal(host: &str, e: &rustls::Error) -> Error {
    match e {
        rustls::Error::InvalidMessage(_) => Error::host(format!("registry {host} does not speak TLS"))
            .hint(format!("write insecure = [{host:?}] into the settings, if plain http is right there")),
        rustls::Error::AlertReceived(_) => Error::host(format!("registry {host} refuses us: {e}"))
            .hint(format!("it may want a certificate of ours: NAME.cert and NAME.key in {}/{host}", PLACES[0])),
        e => Error::host(format!("registry {host}: {e}")).hint(format!(
            "put the certificate of who signed its own into {}/{host}/ca.crt, or name that file in SSL_CERT_FILE",
            PLACES[0]
        )),
    }
}
