//! What a word means whose files are to be looked at: an image, a container, a directory, an archive. It is opened as one
//! tree, and nothing is mounted, run, repaired or started for that.

pub mod compare;
pub mod difference;
pub mod look;

use super::own::{self, Own};
use super::{container, image};
use crate::error::{Error, Kind, Result};
use crate::id::HostPath;
use crate::image::inside::{Form, Found, Scratch, Tree, is_layout, key};
use crate::image::{Image, Lower, Store};
use crate::ops::files::tree::form;
use crate::state::Roots;
use crate::sys::fs;
use std::cell::OnceCell;

/// A word of the command line, and the path that it would be on this host: of words with a slash alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub path: Option<HostPath>,
}

/// The store, where one is needed: two directories are compared without.
struct Shelf<'r> {
    roots: &'r Roots,
    store: OnceCell<Store>,
}

/// What a word meant, open.
struct Opened<'s> {
    name: String,
    /// `image`, `container`, `directory`, `archive`.
    kind: &'static str,
    tree: Tree,
    /// Whether the image's layers can be told apart in it.
    by_layer: bool,
    image: Option<Image>,
    /// The words that start its program.
    command: Vec<String>,
    /// Keeps what was unpacked for this.
    _scratch: Option<Scratch<'s>>,
}

enum Meant {
    Path(HostPath),
    Container(Box<container::Container>),
    Image(Box<Image>),
}

impl<'r> Shelf<'r> {
    fn new(roots: &'r Roots) -> Shelf<'r> {
        Shelf { roots, store: OnceCell::new() }
    }

    fn store(&self) -> Result<&Store> {
        if self.store.get().is_none() {
            let opened =
                Store::open(&self.roots.root).map_err(|e| e.hint("images and archives need root: sudo minirun …"))?;
            return Ok(self.store.get_or_init(|| opened));
        }
        self.store.get().ok_or_else(|| Error::internal("a store that is open and is not"))
    }

    fn open(&self, word: &Word) -> Result<Opened<'_>> {
        let name = word.text.clone();
        match self.meant(word)? {
            Meant::Image(found) => {
                let lower = self.store()?.by_layer(&found)?;
                of_image(name, "image", *found, &lower)
            }
            Meant::Container(found) => self.container(name, &found),
            Meant::Path(path) => self.path(name, &path),
        }
    }

    /// A path by its slash, else a container or an image, an exact name before the beginning of an id.
    fn meant(&self, word: &Word) -> Result<Meant> {
        let text = word.text.as_str();
        let explicit = matches!(text, "." | "..") || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
        if let (true, Some(path)) = (explicit, &word.path) {
            return Ok(Meant::Path(path.clone()));
        }
        let path = word.path.clone().filter(|path| fs::exists(path.as_path()));
        // who may not see the store may still name a directory
        let found = match (&path, fs::exists(self.roots.root.as_path())) {
            (Some(path), false) => return Ok(Meant::Path(path.clone())),
            _ => or_nothing(image::find_here(self.store()?, self.roots, text))?,
        };
        let held = or_nothing(container::find_as_it_is(self.roots, text))?;
        let exact = |one: &container::Container| {
            one.id.as_str() == text || one.config.as_ref().is_some_and(|config| config.name.as_str() == text)
        };
        let ambiguous = |one: &str, other: &str, hint: String| {
            Err(Error::user(format!("{text} is both {one} and {other}")).hint(hint))
        };
        match (found, held, path) {
            (Some(_), _, Some(_)) => {
                ambiguous("an image", "a path here", format!("./{text} is the path, and an image's id the image"))
            }
            (Some(found), None, None) => Ok(Meant::Image(Box::new(found))),
            (None, Some(held), None) => Ok(Meant::Container(Box::new(held))),
            (None, _, Some(path)) => Ok(Meant::Path(path)),
            (Some(found), Some(held), None) => {
                let by_name = !found.id.hex().starts_with(text) && !found.manifest.hex().starts_with(text);
                match (by_name, exact(&held)) {
                    (true, false) => Ok(Meant::Image(Box::new(found))),
                    (false, true) => Ok(Meant::Container(Box::new(held))),
                    _ => ambiguous(
                        "an image",
                        "a container",
                        format!("{} is the image, {} the container", found.label(), held.id.short()),
                    ),
                }
            }
            (None, None, None) => Err(Error::new(Kind::NotFound, format!("no image and no container {text} here"))
                .hint(format!(
                    "`minirun images` and `minirun ps -a` list them; a directory or archive is named ./{text}"
                ))),
        }
    }

    fn container(&self, name: String, found: &container::Container) -> Result<Opened<'_>> {
        let config = found.config.as_ref().ok_or_else(|| {
            Error::host(format!("container {name} has no record: {}", container::describe(&found.status)))
        })?;
        let Some(id) = &config.image_id else {
            let dir = HostPath::parse(&config.image)?;
            let mut opened = self.path(name, &dir)?;
            (opened.kind, opened.command) = ("container", config.args.clone());
            return Ok(opened);
        };
        let base = self.store()?.find(id.as_str()).map_err(|e| e.during(format!("the image of container {name}")))?;
        let own = own::own(self.roots, &found.id);
        let changes = |dir, form| (format!("changes of container {}", found.id), dir, form);
        let (tree, by_layer) = match own {
            Own::Copy(ref copy) => {
                let mut tree = Tree::of(&[changes(copy.clone(), Form::Plain)])?;
                for path in own.added(&self.store()?.lower(&base)?)? {
                    tree.entries.remove(&key(&path.to_string_lossy()));
                }
                (tree, false)
            }
            Own::Nothing | Own::Upper(_) => {
                let lower = self.store()?.by_layer(&base)?;
                let mut layers = layers(&lower);
                if let Own::Upper(upper) = own {
                    layers.push(changes(upper, Form::Layer));
                }
                (Tree::of(&layers)?, matches!(lower, Lower::Layers(_)))
            }
        };
        let command = config.args.clone();
        Ok(Opened { name, kind: "container", tree, by_layer, image: Some(base), command, _scratch: None })
    }

    fn path(&self, name: String, path: &HostPath) -> Result<Opened<'_>> {
        let stat = fs::stat(path.as_path()).map_err(|e| {
            Error::user(format!("cannot open {path}: {}", e.errno.desc().to_lowercase())).hint("is the path right?")
        })?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR if !is_layout(path.as_path()) => {
                let tree = Tree::of(&[(path.to_string(), path.clone(), Form::Plain)])?;
                let (image, command, by_layer) = (None, Vec::new(), true);
                return Ok(Opened { name, kind: "directory", tree, by_layer, image, command, _scratch: None });
            }
            libc::S_IFDIR | libc::S_IFREG => {}
            _ => {
                return Err(Error::user(format!("{path} is neither a directory nor an archive"))
                    .hint("a tar, or a layout, or a root file system"));
            }
        }
        let mut scratch = Scratch::unpack(self.store()?, path)?;
        let nothing = Found::Root { dir: path.clone(), name: String::new() };
        let mut opened = match std::mem::replace(&mut scratch.found, nothing) {
            Found::Image { image, lower } => of_image(name, "archive", *image, &lower)?,
            Found::Root { dir, name: content } => {
                let tree = Tree::of(&[(content, dir, Form::Layer)])?;
                let (image, command, by_layer) = (None, Vec::new(), true);
                Opened { name, kind: "archive", tree, by_layer, image, command, _scratch: None }
            }
        };
        opened._scratch = Some(scratch);
        Ok(opened)
    }
}

fn or_nothing<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn of_image<'s>(name: String, kind: &'static str, image: Image, lower: &Lower) -> Result<Opened<'s>> {
    let tree = Tree::of(&layers(lower))?;
    let by_layer = matches!(lower, Lower::Layers(_));
    let config = image.config.config().as_ref();
    let words = config.map(|config| [config.entrypoint(), config.cmd()].map(|words| words.clone().unwrap_or_default()));
    let command = words.map(|words| words.concat()).unwrap_or_default();
    Ok(Opened { name, kind, tree, by_layer, image: Some(image), command, _scratch: None })
}

/// A layer is told from others by the name of its directory, which is a digest.
fn layers(lower: &Lower) -> Vec<(String, HostPath, Form)> {
    let name = |dir: &HostPath| dir.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    lower.dirs().iter().map(|dir| (name(dir), dir.clone(), form(lower))).collect()
}

/// What each source of a tree is called, and the command that made it, the lowest first.
fn made_by(opened: &Opened<'_>) -> Vec<(String, String)> {
    if !opened.by_layer {
        return vec![(opened.name.clone(), "all its layers in one".to_owned())];
    }
    let image = opened.image.as_ref();
    let steps = image.and_then(|image| image.config.history().as_ref()).into_iter().flatten();
    let mut steps = steps.filter(|step| step.empty_layer() != Some(true));
    let mut layers = image.iter().flat_map(|image| &image.layers);
    let one = |source: &crate::image::inside::Source| match layers.next() {
        Some(layer) => {
            let by = steps.next().and_then(|step| step.created_by().clone()).unwrap_or_default();
            (layer.diff_id.short().to_owned(), by)
        }
        None if image.is_some() => (opened.name.clone(), source.name.clone()),
        None => (opened.name.clone(), String::new()),
    };
    opened.tree.sources.iter().map(one).collect()
}
