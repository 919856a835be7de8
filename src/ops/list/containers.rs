//! `ps`: which containers there are, how they are, and which of them are wanted.

use super::super::container;
use super::super::{adopt, cgroups, inspect, network, own};
use super::filter::{self, Filter};
use super::images;
use crate::error::{Error, Kind, Result};
use crate::id::{ContainerId, Digest};
use crate::image::{Reference, Store};
use crate::net::attachment;
use crate::net::publish::{self, Published};
use crate::state::{Config, Roots, Status, container as records, health};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A line of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    pub id: ContainerId,
    pub name: String,
    pub image: String,
    /// The command's words.
    pub command: Vec<String>,
    /// When it was made, in RFC 3339; and how many seconds ago.
    pub created: Option<String>,
    pub age: u64,
    /// How it is, and since how many seconds, where that is known.
    pub status: String,
    pub since: Option<u64>,
    /// docker's word for it: `running`, `exited`.
    pub state: &'static str,
    pub running: bool,
    /// It runs, and stands still.
    pub paused: bool,
    /// What its health check says: `starting`, `healthy`, `unhealthy`.
    pub health: Option<&'static str>,
    /// `0.0.0.0:8080->80/tcp`
    pub ports: Vec<String>,
    /// Names of networks, or the mode: `host`.
    pub networks: Vec<String>,
    pub mounts: Vec<MountWords>,
    pub labels: BTreeMap<String, String>,
    /// Where it was wanted.
    pub size: Option<Size>,
    published: Vec<Published>,
    exit: Option<u8>,
    /// The manifest that it was made from.
    pub image_id: Option<Digest>,
}

/// What is mounted into a container, by name where it is a volume with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountWords {
    pub name: Option<String>,
    pub source: String,
    pub target: String,
}

impl MountWords {
    /// The name or the source.
    pub fn as_str(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.source)
    }
}

/// Bytes that a container has written into its root, and those that its image had there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub own: u64,
    pub image: u64,
}

/// Which containers, and what of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that do not run, too.
    pub all: bool,
    /// So many, those that were made last, whatever they do.
    pub last: Option<usize>,
    /// With their sizes: all that they have written is looked at.
    pub sizes: bool,
    /// `KEY=VALUE`
    pub filters: Vec<String>,
}

/// What --filter knows.
pub const FILTERS: [&str; 13] = [
    "id", "name", "status", "label", "ancestor", "exited", "before", "since", "network", "volume", "publish", "expose",
    "health",
];

const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

const STATES: [&str; 9] =
    ["created", "starting", "running", "paused", "restarting", "stopping", "removing", "exited", "dead"];

/// The containers that are wanted, the newest first.
pub fn list(roots: &Roots, wanted: &Wanted) -> Result<Vec<ContainerRow>> {
    let filters = filter::parse(&wanted.filters, &FILTERS)?;
    for filter in &filters {
        check(filter)?;
    }
    let rows = all(roots)?;
    let found = Found::look(roots, &filters, &rows)?;
    let any_state = wanted.all || wanted.last.is_some() || filters.iter().any(|filter| filter.key == "status");
    let kept = rows.into_iter().enumerate().filter(|(at, row)| {
        (any_state || row.running) && filter::passes(&filters, |filter| matches(filter, *at, row, &found))
    });
    let mut kept: Vec<_> = kept.map(|(_, row)| row).take(wanted.last.unwrap_or(usize::MAX)).collect();
    if wanted.sizes {
        let images: BTreeMap<Digest, u64> = images::all(roots)?.into_iter().map(|row| (row.digest, row.size)).collect();
        for row in &mut kept {
            let own = own::own(roots, &row.id).size();
            let image = row.image_id.as_ref().and_then(|id| images.get(id)).copied().unwrap_or(0);
            row.size = Some(Size { own, image });
        }
    }
    Ok(kept)
}

/// All containers, the newest first; a broken record is a row, not an error. One that runs without a monitor gets one.
pub fn all(roots: &Roots) -> Result<Vec<ContainerRow>> {
    let networks = network::of_containers(roots);
    let look = |one: &Container| row(roots, one, networks.get(&one.id).map_or(&[], Vec::as_slice));
    let mut rows = Vec::new();
    for one in at_once(&records::ids(roots)?, |id| {
        let one = records::load(roots, id);
        if one.is_orphan() { Err(one.id) } else { Ok(look(&one)) }
    }) {
        rows.push(one.unwrap_or_else(|orphan| {
            // `ps` lists what it can; who names the container hears why
            drop(adopt::adopt(roots, &orphan));
            look(&records::load(roots, &orphan))
        }));
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created));
    Ok(rows)
}

/// Looks at many by all processors: half of the time goes into reading the records, half into asking the kernel.
fn at_once<T: Sync, U: Send>(all: &[T], look: impl Fn(&T) -> U + Sync) -> Vec<U> {
    const FEW: usize = 32; // fewer than these are looked at before a thread has begun
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if all.len() <= FEW {
        return all.iter().map(look).collect();
    }
    let look = &look;
    std::thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(threads));
        let running: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(look).collect::<Vec<_>>())).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// As much of a container as is listed: how its life is taken back is read by who does that.
type Container = records::Container<IgnoredAny>;

/// As much of a request as is listed.
#[derive(Default, Deserialize)]
struct Asked {
    labels: Vec<(String, String)>,
    network: AskedNetwork,
    mounts: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct AskedNetwork {
    mode: Option<String>,
    #[serde(default)]
    more: Vec<String>,
}

impl AskedNetwork {
    /// Without what else is asked of each.
    fn names(&self) -> Vec<String> {
        let first = self.mode.as_deref().unwrap_or("bridge");
        let name = |word: &str| match attachment::parse(word) {
            Ok(wanted) => wanted.network.to_string(),
            Err(_) => word.to_owned(), // another container's
        };
        [first].into_iter().chain(self.more.iter().map(String::as_str)).map(name).collect()
    }
}

fn row(roots: &Roots, container: &Container, networks: &[(String, Vec<Published>)]) -> ContainerRow {
    let config = container.config.as_ref();
    let moment = match container.status {
        Status::Running => container.started.as_ref().map(|started| &started.at),
        Status::Exited(_) | Status::Restarting(_) => container.ended.as_ref().map(|ended| &ended.at),
        Status::Created | Status::Starting | Status::Ending | Status::Dead | Status::Broken(_) => None,
    };
    let published: Vec<Published> = networks.iter().flat_map(|(_, published)| published).cloned().collect();
    let asked: Asked = config.and_then(|config| config.request.parse().ok()).unwrap_or_default();
    let running = container.status == Status::Running;
    let paused = running && cgroups::is_frozen(container);
    ContainerRow {
        id: container.id.clone(),
        name: config.map_or_else(String::new, |c| c.name.to_string()),
        image: config.map_or_else(String::new, |c| c.image.clone()),
        command: config.map_or_else(Vec::new, |c| c.args.clone()),
        created: config.map(|c| c.created.clone()),
        age: config.map_or(0, |c| super::super::seconds_since(&c.created)),
        status: container::describe(&container.status),
        since: moment.map(|moment| super::super::seconds_since(moment)),
        state: inspect::word(&container.status, paused),
        running,
        paused,
        health: config
            .filter(|config| config.health.is_some() && running)
            .map(|_| health::read(roots, &container.id).status.name()),
        ports: publish::ranges(&published),
        networks: match networks {
            // what was asked for, of one that has no network now
            [] => config.map(|_| asked.network.names()).unwrap_or_default(),
            some => some.iter().map(|(name, _)| name.clone()).collect(),
        },
        // the specification is long, and says no more where nothing was asked for
        mounts: mounts(config.filter(|_| !asked.mounts.is_empty())),
        labels: asked.labels.into_iter().collect(),
        size: None,
        published,
        exit: match &container.status {
            Status::Exited(exit) => Some(exit.map_or(container::UNKNOWN_EXIT, |exit| exit.code())),
            _ => None,
        },
        image_id: config.and_then(|c| c.image_id.clone()),
    }
}

fn mounts(config: Option<&Config>) -> Vec<MountWords> {
    let words = |mount: &serde_json::Value| MountWords {
        name: mount["Name"].as_str().map(str::to_owned),
        source: mount["Source"].as_str().unwrap_or_default().to_owned(),
        target: mount["Destination"].as_str().unwrap_or_default().to_owned(),
    };
    inspect::mounts(config).iter().map(words).collect()
}

/// What the filters' words stand for, looked up once.
struct Found {
    /// Places in the list of those that `before` and `since` name.
    places: BTreeMap<String, usize>,
    /// Manifests of the images that `ancestor` names.
    ancestors: BTreeMap<String, Digest>,
}

impl Found {
    fn look(roots: &Roots, filters: &[Filter], rows: &[ContainerRow]) -> Result<Found> {
        let mut found = Found { places: BTreeMap::new(), ancestors: BTreeMap::new() };
        for Filter { key, value } in filters {
            match key.as_str() {
                "before" | "since" => {
                    let id = container::look_up(roots, value)?.id;
                    let place = rows.iter().position(|row| row.id == id);
                    found.places.extend(place.map(|place| (value.clone(), place)));
                }
                "ancestor" => {
                    let image = Store::look(&roots.root).find(value).ok();
                    found.ancestors.extend(image.map(|image| (value.clone(), image.manifest)));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A value that no container could ever match is a mistake.
fn check(filter: &Filter) -> Result<()> {
    let wrong =
        |hint: String| Err(Error::new(Kind::Usage, format!("invalid {} {:?}", filter.key, filter.value)).hint(hint));
    match filter.key.as_str() {
        "status" if !STATES.contains(&filter.value.as_str()) => wrong(format!("there are {}", STATES.join(", "))),
        "health" if !HEALTHS.contains(&filter.value.as_str()) => wrong(format!("there are {}", HEALTHS.join(", "))),
        "exited" if filter.value.parse::<i32>().is_err() => wrong("it takes an exit code, such as 0".to_owned()),
        "publish" | "expose" if ports(&filter.value).is_none() => {
            wrong("it takes ports like 8080, 8080/udp or 8000-8090/tcp".to_owned())
        }
        "name" if filter.value.contains(['*', '[', ']', '(', ')', '|', '+', '?', '\\']) => {
            wrong("it takes a part of a name; `^` and `$` stand for its ends".to_owned())
        }
        _ => Ok(()),
    }
}

fn matches(Filter { key, value }: &Filter, at: usize, row: &ContainerRow, found: &Found) -> bool {
    match key.as_str() {
        "id" => row.id.as_str().starts_with(value.trim_start_matches('^')),
        "name" => filter::name_matches(&row.name, value),
        "status" => row.state == value,
        "health" => row.health.unwrap_or("none") == value,
        "label" => filter::has_label(&row.labels, value),
        "ancestor" => match found.ancestors.get(value) {
            Some(manifest) => row.image_id.as_ref() == Some(manifest),
            None => Reference::parse(value).is_ok_and(|name| Reference::parse(&row.image).is_ok_and(|of| of == name)),
        },
        "exited" => value.parse() == Ok(row.exit.map_or(-1, i32::from)),
        "before" => found.places.get(value).is_some_and(|place| at > *place),
        "since" => found.places.get(value).is_some_and(|place| at < *place),
        "network" => row.networks.contains(value),
        "volume" => row.mounts.iter().any(|mount| mount.as_str() == value || mount.target == *value),
        "publish" => row.published.iter().any(|port| is_in(port.port, port, value)),
        "expose" => row.published.iter().any(|port| is_in(port.to.port(), port, value)),
        _ => false,
    }
}

/// `8080`, `8080/udp`, `8000-8090/tcp`: the first port, the last one, and the protocol.
fn ports(text: &str) -> Option<(u16, u16, &str)> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some((first.parse().ok()?, last.parse().ok()?, protocol))
}

fn is_in(number: u16, port: &Published, wanted: &str) -> bool {
    let of_protocol = |protocol: &str| port.protocol.to_string() == protocol;
    ports(wanted).is_some_and(|(first, last, protocol)| (first..=last).contains(&number) && of_protocol(protocol))
}
