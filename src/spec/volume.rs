//! `-v [SOURCE:]TARGET[:OPTIONS]`: a bind where the source is a path, else a volume. Pure text to data.

use super::mount::{BindMount, MountRequest, Propagation, Relabel, Submounts, VolumeMount, host_path, target};
use super::request::VolumesFrom;
use crate::error::{Error, Result};
use crate::id::Name;

/// What may stand behind the second colon.
#[derive(Default)]
struct Options {
    read_only: bool,
    relabel: Option<Relabel>,
    propagation: Option<Propagation>,
    no_copy: bool,
}

/// docker's rules (moby, volume/mounts/linux_parser.go). A source that begins with `.` is taken from `cwd`.
pub fn parse(text: &str, cwd: &str) -> Result<MountRequest> {
    parse_parts(text, cwd).map_err(|e| e.hint("-v FROM:TO[:ro], where FROM is a path or a volume's name"))
}

/// `--volumes-from CONTAINER[:ro|:rw]`.
pub fn parse_from(text: &str) -> Result<VolumesFrom> {
    let bad = |why: &str| {
        Error::user(format!("invalid --volumes-from {text:?}: {why}")).hint("--volumes-from CONTAINER[:ro]")
    };
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let read_only = match mode {
        "ro" => true,
        "rw" | "z" | "Z" => false, // its volumes have their labels already
        _ => return Err(bad(&format!("{mode:?} is neither ro nor rw"))),
    };
    if container.is_empty() {
        return Err(bad("the container's name is empty"));
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only })
}

fn parse_parts(text: &str, cwd: &str) -> Result<MountRequest> {
    let bad = |why: &str| Error::user(format!("invalid volume {text:?}: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, to, options) = match parts[..] {
        [to] => (None, to, ""),
        [source, to] => (Some(source), to, ""),
        [source, to, options] => (Some(source), to, options),
        _ => return Err(bad("too many colons").hint("use --mount type=bind,source=…,target=… for a path with a colon")),
    };
    if source == Some("") || to.is_empty() {
        return Err(bad("a part is empty"));
    }
    let options = parse_options(options).map_err(|why| bad(&why))?;
    let to = target(to).map_err(|e| bad(&e.message).hint("the target is an absolute path, not /"))?;
    match source {
        Some(path) if path.starts_with(['/', '.', '~']) => bind(path, cwd, to, &options).map_err(|e| {
            let hint = e.hint.clone();
            hint.into_iter().fold(bad(&e.message), Error::hint)
        }),
        name => volume(name, to, &options).map_err(|why| bad(&why)),
    }
}

fn bind(path: &str, cwd: &str, target: crate::id::ContainerPath, options: &Options) -> Result<MountRequest> {
    if path.starts_with('~') {
        return Err(Error::user("~ is the shell's").hint("leave it unquoted, or give the whole path"));
    }
    if options.no_copy {
        return Err(Error::user("nocopy is for volumes, not for directories of the host"));
    }
    Ok(MountRequest::Bind(BindMount {
        source: host_path(path, cwd)?,
        target,
        read_only: options.read_only,
        submounts: Submounts::default(),
        propagation: options.propagation.unwrap_or_default(),
        relabel: options.relabel,
        create_source: true,
    }))
}

fn volume(name: Option<&str>, target: crate::id::ContainerPath, options: &Options) -> Result<MountRequest, String> {
    if options.propagation.is_some() {
        return Err("propagation is for directories of the host, not for volumes".to_owned());
    }
    let name = name.map(Name::parse).transpose().map_err(|_| {
        "the source is neither a path (it begins with / or .) nor a volume's name (letters, digits, _ . -)".to_owned()
    })?;
    Ok(MountRequest::Volume(VolumeMount {
        name,
        anonymous: false,
        target,
        read_only: options.read_only,
        copy: !options.no_copy,
        subpath: None,
        labels: Vec::new(),
        relabel: options.relabel,
    }))
}

fn parse_options(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    let mut access = None;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" | "rw" if access.is_some_and(|earlier| earlier != word) => {
                return Err("ro and rw exclude each other".to_owned());
            }
            "ro" | "rw" => access = Some(word),
            "z" | "Z" if options.relabel.is_some() => return Err("one of z and Z is enough".to_owned()),
            "z" => options.relabel = Some(Relabel::Shared),
            "Z" => options.relabel = Some(Relabel::Private),
            "nocopy" => options.no_copy = true,
            // for docker on a Mac; here every mount is consistent
            "cached" | "delegated" | "consistent" | "default" => {}
            word => match (Propagation::parse(word), options.propagation) {
                (Some(propagation), None) => options.propagation = Some(propagation),
                (Some(_), Some(_)) => return Err("only one propagation is possible".to_owned()),
                (None, _) => return Err(format!("no such option {word:?}")),
            },
        }
    }
    options.read_only = access == Some("ro");
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mount in short: kind, source, target, and what differs from the default.
    fn short(mount: &MountRequest) -> String {
        let ro = |read_only| if read_only { " ro" } else { "" };
        match mount {
            MountRequest::Bind(b) => {
                let relabel = b.relabel.map_or(String::new(), |r| format!(" {r:?}"));
                format!("bind {} {}{} {}{relabel}", b.source, b.target, ro(b.read_only), b.propagation.as_str())
            }
            MountRequest::Volume(v) => {
                let name = v.name.as_ref().map_or("-", Name::as_str);
                format!("volume {name} {}{}{}", v.target, ro(v.read_only), if v.copy { "" } else { " nocopy" })
            }
            MountRequest::Tmpfs(t) => format!("tmpfs {}", t.target),
            MountRequest::Image(i) => format!("image {} {}", i.source, i.target),
        }
    }

    #[test]
    fn volumes_are_dockers() {
        for (text, want) in [
            ("/a:/b", "bind /a /b rprivate"),
            ("/a:/b:ro", "bind /a /b ro rprivate"),
            ("/a:/b/:rw", "bind /a /b rprivate"),
            ("./a:/b", "bind /home/me/a /b rprivate"),
            (".:/b", "bind /home/me /b rprivate"),
            ("../a:/b", "bind /home/me/../a /b rprivate"),
            ("/a:/b:ro,z,rslave", "bind /a /b ro rslave Shared"),
            ("/a:/b:Z", "bind /a /b rprivate Private"),
            ("/a:/b:cached", "bind /a /b rprivate"),
            ("data:/b", "volume data /b"),
            ("data:/b:ro,nocopy", "volume data /b ro nocopy"),
            ("/b", "volume - /b"),
        ] {
            assert_eq!(parse(text, "/home/me").map(|m| short(&m)).unwrap(), want, "{text:?}");
        }
    }

    #[test]
    fn volumes_from_a_container() {
        for (text, want) in
            [("web", Some(("web", false))), ("web:ro", Some(("web", true))), ("web:rw", Some(("web", false)))]
        {
            let from = parse_from(text).ok();
            assert_eq!(from.as_ref().map(|from| (from.container.as_str(), from.read_only)), want, "{text}");
        }
        for text in ["", ":ro", "web:", "web:x", "web:ro:rw"] {
            assert!(parse_from(text).unwrap_err().message.contains(&format!("{text:?}")), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            ":",
            ":/b",
            "/a:",
            "/a:b",
            "/a:/",
            "/a:/b:ro:rw",
            "/a:/b:ro,rw",
            "/a:/b:z,Z",
            "/a:/b:x",
            "/a:/b:nocopy",
            "data:/b:shared",
            "a/b:/c",
            "~/a:/b",
            "b",
            "/a:/b:shared,slave",
            "-x:/b",
        ] {
            let error = parse(text, "/").expect_err(text);
            assert!(error.message.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse(&text, "/");
        }
    }
}
