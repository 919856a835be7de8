//! `minirun cp`.

use super::{caller, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::files::copy::{self, CopyOwners, CopyRequest, End, Follow};
use crate::state::Roots;

/// Copy files between a container and the host; `-` is a tar on the standard input or output
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minirun cp [OPTIONS] CONTAINER:SRC DEST|-\n       minirun cp [OPTIONS] SRC|- CONTAINER:DEST",
    after_help = "Example: minirun cp web:/etc/passwd . && minirun cp site/. web:/www"
)]
pub(super) struct Args {
    /// Keep the owners; else files are yours on the host and root's in the container
    #[arg(short, long)]
    archive: bool,
    /// Follow SRC where it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of what was copied
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "CONTAINER:SRC")]
    from: String,
    #[arg(value_name = "DEST")]
    to: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let request = CopyRequest {
        from: end(&args.from)?,
        to: end(&args.to)?,
        follow: if args.follow_link { Follow::Yes } else { Follow::No },
        owners: if args.archive { CopyOwners::Kept } else { CopyOwners::Receiver },
    };
    match (&request.from, &request.to) {
        (End::Stream, _) if ui::stdin_is_terminal() => {
            return Err(Error::user("an archive cannot be typed").hint("tar -c FILES | minirun cp - CONTAINER:DIR"));
        }
        (_, End::Stream) if ui::stdout_is_terminal() => {
            return Err(Error::user("a tar is nothing for a terminal").hint("minirun cp CONTAINER:SRC - | tar -tv"));
        }
        _ => {}
    }
    let copied = ui::or_gone(copy::copy(roots, &request, &ui::Bars::new(ui::Show::Nothing)))?.flatten();
    if let (Some(bytes), false) = (copied, args.quiet) {
        ui::note(&format!("Successfully copied {} to {}", decimal(bytes), args.to));
    }
    Ok(0)
}

/// docker's rule: what is absolute or begins with a dot is the host's, and else a colon ends the container's name.
fn end(text: &str) -> Result<End> {
    match text.split_once(':') {
        _ if text == "-" => Ok(End::Stream),
        _ if text.is_empty() => Err(Error::new(Kind::Usage, "a path is empty").hint("minirun cp CONTAINER:SRC DEST")),
        Some((name, path)) if !text.starts_with(['/', '.']) => match (name, path) {
            ("", _) | (_, "") => Err(Error::new(Kind::Usage, format!("{text:?} lacks a container or a path"))
                .hint("CONTAINER:PATH, or ./NAME for a file with a colon in its name")),
            _ => Ok(End::Container { name: name.to_owned(), path: path.to_owned() }),
        },
        _ if text.starts_with('/') => Ok(End::Host(text.to_owned())),
        _ => Ok(End::Host(format!("{}/{text}", caller::directory()?))),
    }
}

/// As docker prints sizes here: three digits, powers of a thousand.
fn decimal(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_means_a_container_where_docker_says_so() {
        let inside = |name: &str, path: &str| End::Container { name: name.to_owned(), path: path.to_owned() };
        for (text, want) in [
            ("web:/etc", inside("web", "/etc")),
            ("web:etc/x:y", inside("web", "etc/x:y")),
            ("/a:b", End::Host("/a:b".to_owned())),
            ("-", End::Stream),
        ] {
            assert_eq!(end(text).unwrap(), want, "{text}");
        }
        assert!(matches!(end("./a:b").unwrap(), End::Host(path) if path.ends_with("/./a:b")));
        assert!(end("web:").is_err() && end(":/x").is_err() && end("").is_err());
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, want) in [(512, "512B"), (1536, "1.54kB"), (2048, "2.05kB"), (10_240, "10.2kB"), (3_000_000, "3MB")]
        {
            assert_eq!(decimal(bytes), want);
        }
    }
}
