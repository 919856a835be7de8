//! The terminal's size, for tables that shall fit it. Changes nothing.

use super::named;
use crate::error::SysResult;
use std::os::fd::{AsFd, AsRawFd as _};

/// Columns and rows of the terminal behind `fd`; ENOTTY where it is none.
pub fn size(fd: &impl AsFd) -> SysResult<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one struct winsize to the pointer (ioctl_tty(2)), which lives until the call is over.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    named(nix::errno::Errno::result(result), || "ioctl(TIOCGWINSZ)".into())?;
    Ok((size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_no_terminal() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(super::size(&file).unwrap_err().errno, nix::Error::ENOTTY);
    }
}
