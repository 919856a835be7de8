//! Changes in a directory, without asking again and again (inotify(7)).

use super::named;
use crate::error::SysResult;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Files in one directory that are written, made, renamed or removed, and the directory's own going away.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    pub fn directory(path: &Path) -> SysResult<Watch> {
        let inotify = named(Inotify::init(InitFlags::IN_CLOEXEC), || "inotify_init1()".into())?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        named(inotify.add_watch(path, flags), || format!("inotify_add_watch({path:?})"))?;
        Ok(Watch(inotify))
    }

    /// Waits for a change; several may have come together.
    pub fn changed(&self) -> SysResult<()> {
        loop {
            match self.0.read_events() {
                Err(nix::Error::EINTR) => {}
                done => return named(done, || "read(inotify)".into()).map(drop),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
