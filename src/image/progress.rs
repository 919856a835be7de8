//! How far something long is. The command line draws it; nothing here prints.

use std::io::{self, Read};

/// Is told of every piece of work; called from one thread at a time, often.
pub trait Progress: Send + Sync {
    /// `item` (a file, a layer's short digest) has `done` bytes of `total`, where that is known. The last call for an
    /// item has `done == total`.
    fn update(&self, item: &str, done: u64, total: Option<u64>);
}

/// Nobody looks.
impl Progress for () {
    fn update(&self, _: &str, _: u64, _: Option<u64>) {}
}

/// A reader that tells how much was read.
pub(super) struct Counted<'a, R> {
    inner: R,
    item: String,
    done: u64,
    total: Option<u64>,
    progress: &'a dyn Progress,
}

impl<'a, R> Counted<'a, R> {
    pub(super) fn new(inner: R, item: &str, total: Option<u64>, progress: &'a dyn Progress) -> Counted<'a, R> {
        Counted { inner, item: item.to_owned(), done: 0, total, progress }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.done += n as u64;
        let total = if n == 0 { Some(self.done) } else { self.total };
        self.progress.update(&self.item, self.done, total);
        Ok(n)
    }
}
