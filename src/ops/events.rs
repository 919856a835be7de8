//! `events`: what has happened, from the files of `state::events`; and, as long as that is wanted, what happens.

use super::list::filter::{self, Filter};
use crate::error::{Error, Kind, Result};
use crate::image::Reference;
use crate::state::Roots;
use crate::state::events::{self, Reader};
use crate::sys::event;
use crate::sys::watch::Watch;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Duration;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// `container`, `image`, `volume` or `network`.
    pub kind: &'static str,
    pub action: String,
    pub id: String,
    pub attributes: BTreeMap<String, String>,
}

fn told(event: events::Event) -> Event {
    let events::Event { time, kind, action, id, attributes } = event;
    Event { time, kind: kind.name(), action, id, attributes }
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsRequest {
    /// What was before; where neither is given, nothing.
    pub since: Option<jiff::Timestamp>,
    /// The end. What has not happened yet is waited for.
    pub until: Option<jiff::Timestamp>,
    /// `KEY=VALUE`
    pub filters: Vec<String>,
}

const FILTERS: [&str; 7] = ["container", "event", "type", "image", "label", "volume", "network"];

const TYPES: [&str; 4] = ["container", "image", "volume", "network"];

/// Gives each event to `sink`, those that were as soon as possible and in order, those that come as they come; to the
/// end, or for ever.
pub fn events(roots: &Roots, request: &EventsRequest, sink: &mut dyn FnMut(&Event) -> Result<()>) -> Result<()> {
    let filters = filter::parse(&request.filters, &FILTERS)?;
    filters.iter().try_for_each(check)?;
    let began = jiff::Timestamp::now();
    let over = |now: jiff::Timestamp| request.until.is_some_and(|until| until <= now);
    let since = if request.since.is_none() && request.until.is_none() { Some(began) } else { request.since };
    let mut show = |event: events::Event| match is_between(event.time, since, request.until) && passes(&filters, &event)
    {
        true => sink(&told(event)),
        false => Ok(()),
    };
    let mut reader = Reader::new(roots);
    // looked at from before the first read on, so that nothing falls between
    let watch = if over(began) { None } else { Some(watch(roots)?) };
    let mut past = reader.read().map_err(of_root)?;
    past.sort_by_key(|event| event.time); // who writes takes the time first, and may be overtaken then
    past.into_iter().try_for_each(&mut show)?;
    let Some(watch) = watch else { return Ok(()) };
    let dir = events::dir(roots);
    // `system reset` takes the directory away, and with it all that could happen
    while crate::sys::fs::exists(dir.as_path()) {
        let now = jiff::Timestamp::now();
        let left = request.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        if event::readable_within(watch.as_fd(), left)? {
            watch.changed()?;
        }
        reader.read().map_err(of_root)?.into_iter().try_for_each(&mut show)?;
        if over(jiff::Timestamp::now()) {
            break;
        }
    }
    Ok(())
}

fn watch(roots: &Roots) -> Result<Watch> {
    events::prepare(roots).map_err(of_root)?;
    Watch::directory(events::dir(roots).as_path()).map_err(|e| of_root(e.into()))
}

fn of_root(error: Error) -> Error {
    use crate::error::Errno;
    match error.is_errno(Errno::EACCES) || error.is_errno(Errno::EPERM) {
        true => Error::user("cannot read the events: they are root's").hint("sudo minirun events"),
        false => error,
    }
}

fn is_between(time: i64, since: Option<jiff::Timestamp>, until: Option<jiff::Timestamp>) -> bool {
    let time = i128::from(time);
    since.is_none_or(|since| time >= since.as_nanosecond()) && until.is_none_or(|until| time <= until.as_nanosecond())
}

fn check(filter: &Filter) -> Result<()> {
    match filter.key.as_str() {
        "type" if !TYPES.contains(&filter.value.as_str()) => {
            Err(Error::new(Kind::Usage, format!("there are no events of type {:?}", filter.value))
                .hint(format!("there are {}", TYPES.join(", "))))
        }
        _ => Ok(()),
    }
}

fn passes(filters: &[Filter], event: &events::Event) -> bool {
    use events::Kind as Of;
    let name = event.attributes.get("name");
    // by the beginning of an id or of a name, as docker has it
    let is = |value: &str| event.id.starts_with(value) || name.is_some_and(|name| name.starts_with(value));
    filter::passes(filters, |Filter { key, value }| match key.as_str() {
        "container" => match event.kind {
            Of::Container => is(value),
            Of::Network => event.attributes.get("container").is_some_and(|id| id.starts_with(value.as_str())),
            Of::Image | Of::Volume => false,
        },
        "network" => event.kind == Of::Network && is(value),
        "volume" => event.kind == Of::Volume && is(value),
        "type" => event.kind.name() == value,
        "event" => event.action == *value || event.action.split_once(": ").is_some_and(|(action, _)| action == value),
        "image" => match event.kind {
            Of::Image => event.id == *value || name.is_some_and(|name| is_image(name, value)),
            Of::Container => event.attributes.get("image").is_some_and(|image| is_image(image, value)),
            Of::Volume | Of::Network => false,
        },
        "label" => filter::has_label(&event.attributes, value),
        _ => false,
    })
}

/// Whether a name is that of the image that is wanted, which may have no tag and then has any.
fn is_image(name: &str, wanted: &str) -> bool {
    let (Ok(name), Ok(parsed)) = (Reference::parse(name), Reference::parse(wanted)) else { return name == wanted };
    name == parsed || name.familiar_repository() == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::events::{Event, Kind as Of};

    fn event(kind: Of, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event { time: 0, kind, action: action.to_owned(), id: id.to_owned(), attributes }
    }

    #[test]
    fn filters_are_dockers() {
        let web = [("image", "busybox:latest"), ("name", "web"), ("app", "shop")];
        let container = event(Of::Container, "exec_create: sh -c date", "abc123", &web);
        let image = event(Of::Image, "tag", "sha256:9", &[("name", "busybox:1")]);
        let volume = event(Of::Volume, "create", "web", &[("driver", "local")]);
        for (words, wanted) in [
            ("", [true, true, true]),
            ("type=container", [true, false, false]),
            ("type=container type=volume", [true, false, true]),
            ("container=web", [true, false, false]),
            ("container=abc", [true, false, false]),
            ("container=b", [false; 3]),
            ("volume=web", [false, false, true]),
            ("event=exec_create", [true, false, false]),
            ("event=exec", [false; 3]),
            ("event=tag event=create", [false, true, true]),
            ("image=busybox", [true, true, false]),
            ("image=busybox:1", [false, true, false]),
            ("image=docker.io/library/busybox:latest", [true, false, false]),
            ("image=sha256:9", [false, true, false]),
            ("label=app", [true, false, false]),
            ("label=app=shop", [true, false, false]),
            ("label=app=other", [false; 3]),
            ("container=web event=start", [false; 3]),
        ] {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let filters = filter::parse(&words, &FILTERS).unwrap();
            let passed = [&container, &image, &volume].map(|event| passes(&filters, event));
            assert_eq!(passed, wanted, "{words:?}");
        }
        let bad = filter::parse(&["type=pod".to_owned()], &FILTERS).unwrap();
        assert!(check(&bad[0]).unwrap_err().hint.is_some());
    }

    #[test]
    fn a_moment_is_between_two_others_or_one_of_them() {
        let at = |seconds| jiff::Timestamp::from_second(seconds).ok();
        for (since, until, wanted) in
            [(None, None, true), (at(1), at(1), true), (at(2), None, false), (None, at(0), false), (at(0), at(2), true)]
        {
            assert_eq!(is_between(1_000_000_000, since, until), wanted, "{since:?} {until:?}");
        }
    }
}
