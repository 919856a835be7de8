//! Which of an index's manifests is for this processor. Pure.

use crate::error::{Error, Result};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, Os};

/// A processor in the image-spec's words (Go's GOARCH and GOARM): `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub os: Os,
    pub architecture: Arch,
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on the host's processor.
    pub fn host() -> Platform {
        Platform { os: Os::Linux, architecture: Arch::default(), variant: None }
    }

    /// `linux/arm64`, `linux/arm/v7`, or `arm64` alone.
    pub fn parse(text: &str) -> Result<Platform> {
        let invalid =
            || Error::user(format!("invalid platform {text:?}")).hint("a platform is like linux/amd64 or linux/arm/v7");
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(invalid()),
        };
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if os.is_empty() || architecture.is_empty() || variant == Some("") {
            return Err(invalid());
        }
        Ok(Platform { os: os.into(), architecture: architecture.into(), variant: variant.map(str::to_owned) })
    }

    /// What an image says that it is for.
    pub fn of(config: &ImageConfiguration) -> Platform {
        let (os, architecture) = (config.os().clone(), config.architecture().clone());
        Platform { os, architecture, variant: config.variant().clone() }
    }

    /// Whether an image for the other one is what is wanted by this one.
    pub fn takes(&self, other: &Platform) -> bool {
        let variant = other.variant.as_deref().unwrap_or_default();
        self.os == other.os && self.architecture == other.architecture && self.variants().contains(&variant)
    }

    /// The variants that run here, the best first (containerd, platforms/compare.go). An empty one is "unsaid".
    fn variants(&self) -> Vec<&str> {
        match (&self.architecture, self.variant.as_deref()) {
            (Arch::ARM, Some("v8")) => vec!["v8", "v7", "v6", "v5", ""],
            (Arch::ARM, Some("v7") | None) => vec!["v7", "v6", "v5", ""],
            (Arch::ARM, Some("v6")) => vec!["v6", "v5", ""],
            (Arch::ARM64, Some("v8") | None) => vec!["v8", ""],
            // x86-64 levels above the first need a look at the processor: never by default
            (Arch::Amd64, None) => vec!["", "v1"],
            (_, Some(variant)) => vec![variant, ""],
            (_, None) => vec![""],
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// The manifest for `wanted`; what exists is listed where there is none.
pub(super) fn choose<'d>(manifests: &'d [Descriptor], wanted: &Platform) -> Result<&'d Descriptor> {
    let images: Vec<&Descriptor> = manifests.iter().filter(|d| !is_attestation(d)).collect();
    for variant in wanted.variants() {
        let fits = |d: &&&Descriptor| {
            d.platform().as_ref().is_some_and(|p| {
                p.os() == &wanted.os
                    && p.architecture() == &wanted.architecture
                    && p.variant().as_deref().unwrap_or_default() == variant
            })
        };
        if let Some(found) = images.iter().find(fits) {
            return Ok(found);
        }
    }
    // an index of one image that does not say what it is for
    if let [only] = images[..]
        && only.platform().is_none()
    {
        return Ok(only);
    }
    let list: Vec<String> = images.iter().filter_map(|d| d.platform().as_ref()).map(name).collect();
    let list = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
    Err(Error::image(format!("there is no image for {wanted}, only for {list}"))
        .hint("another processor's image can be pulled with --platform, and run with qemu-user and binfmt_misc"))
}

fn name(platform: &oci_spec::image::Platform) -> String {
    let variant = platform.variant().as_deref().map(|v| format!("/{v}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os(), platform.architecture())
}

/// buildkit's provenance records stand in the index as images for unknown/unknown.
pub(super) fn is_attestation(descriptor: &Descriptor) -> bool {
    let unknown = |p: &oci_spec::image::Platform| p.architecture().to_string() == "unknown";
    descriptor.platform().as_ref().is_some_and(unknown)
        || descriptor.annotations().as_ref().is_some_and(|a| a.contains_key("vnd.docker.reference.type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let descriptor = |text: &&str| {
            let mut parts = text.split('/');
            let (os, architecture, variant) = (parts.next().unwrap(), parts.next().unwrap(), parts.next());
            let variant = variant.map(|v| format!(r#","variant":"{v}""#)).unwrap_or_default();
            serde_json::from_str(&format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"{}",
                    "platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}}}"#,
                crate::id::Digest::of(text.as_bytes())
            ))
            .unwrap()
        };
        platforms.iter().map(descriptor).collect()
    }

    #[test]
    fn variants_fall_back_to_older_ones() {
        let all =
            index(&["linux/arm/v6", "linux/arm/v7", "linux/amd64", "linux/arm64/v8", "unknown/unknown", "linux/386"]);
        for (wanted, expected) in [
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("arm64", "linux/arm64/v8"),
            ("x86_64", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64"),
        ] {
            let chosen = choose(&all, &Platform::parse(wanted).unwrap()).unwrap();
            assert_eq!(name(chosen.platform().as_ref().unwrap()), expected, "{wanted}");
        }
    }

    #[test]
    fn what_exists_is_listed_where_nothing_fits() {
        let all = index(&["linux/arm64", "unknown/unknown", "windows/amd64"]);
        let error = choose(&all, &Platform::parse("amd64").unwrap());
        assert_eq!(
            error.unwrap_err().message,
            "there is no image for linux/amd64, only for linux/arm64, windows/amd64"
        );
        assert!(Platform::parse("linux//x").is_err());
    }
}
