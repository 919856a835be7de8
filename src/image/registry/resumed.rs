//! A blob as one stream that outlives its connections: where an answer is cut, the next one goes on. For who keeps no
//! file of it (`copy`); it compares no digest.

use super::http::{Failure, TRIES, backoff, header};
use super::remote::Remote;
use crate::error::Error;
use crate::id::Digest;
use std::io::{self, Read};
use ureq::http::Response;
use ureq::{Body, BodyReader};

/// So much since the last trouble, and the count of troubles begins anew.
const PROGRESS: u64 = 1 << 20;

pub(super) struct Resumed<'r> {
    remote: &'r Remote<'r>,
    digest: Digest,
    /// As the manifest says. One byte more is read, for whoever compares the size.
    size: u64,
    at: u64,
    body: Option<BodyReader<'static>>,
    /// Troubles in a row, and where the last one was.
    tries: u32,
    cut_at: u64,
}

impl<'r> Resumed<'r> {
    pub(super) fn open(remote: &'r Remote<'r>, digest: &Digest, size: u64) -> Result<Resumed<'r>, Failure> {
        let mut blob = Resumed { remote, digest: digest.clone(), size, at: 0, body: None, tries: 0, cut_at: 0 };
        blob.body = Some(blob.ask()?);
        Ok(blob)
    }

    /// What is to come from `at` on.
    fn ask(&self) -> Result<BodyReader<'static>, Failure> {
        let mut response = self.remote.blob_from(&self.digest, self.at)?;
        let skip = if goes_on(&response, self.at) { 0 } else { self.at };
        if response.status() != 200 && skip > 0 {
            response = self.remote.blob_from(&self.digest, 0)?; // 416, or another range than we asked for
        }
        let mut body = response.into_body().into_reader();
        io::copy(&mut (&mut body).take(skip), &mut io::sink()).map_err(|e| Failure::Unreachable(e.to_string()))?;
        Ok(body)
    }

    fn cut(&mut self, reason: &str) -> io::Result<()> {
        self.body = None;
        if self.at >= self.cut_at + PROGRESS {
            self.tries = 0;
        }
        if self.tries == TRIES {
            return Err(io::Error::other(format!("{}: {}", self.remote.host(), reason.to_lowercase())));
        }
        std::thread::sleep(backoff(self.tries));
        (self.tries, self.cut_at) = (self.tries + 1, self.at);
        Ok(())
    }
}

impl Read for Resumed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.size.saturating_add(1) - self.at).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else {
                match self.ask() {
                    Ok(body) => self.body = Some(body),
                    Err(Failure::Unreachable(reason)) => self.cut(&reason)?,
                    Err(refused) => return Err(io::Error::other(Error::from(refused).message)),
                }
                continue;
            };
            match body.read(&mut into[..wanted]) {
                Ok(0) if self.at < self.size => self.cut("the answer was cut")?,
                Ok(n) => {
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.at == self.size => return Ok(0),
                Err(e) => self.cut(&e.to_string())?,
            }
        }
    }
}

/// Whether an answer is what was asked for: the bytes from `from` on.
pub(super) fn goes_on(response: &Response<Body>, from: u64) -> bool {
    let range = header(response, "content-range").unwrap_or_default();
    response.status() == 206 && range.starts_with(&format!("bytes {from}-"))
}
