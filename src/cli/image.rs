//! `minirun image`: what is in an image. docker's long forms are beside it, see `groups`.

use super::format::{self, Listing, Row, row};
use super::{caller, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::inside::look::{self, FileRow, LayerTree};
use crate::state::Roots;
use clap::Subcommand;
use serde_json::{Value, json};

/// Look into images, and docker's long forms of their commands
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples: minirun image ls busybox /etc
          minirun image cat busybox /etc/passwd
          minirun image tree busybox"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List images; with a path, what is there in one
    #[command(
        visible_alias = "list",
        override_usage = "minirun image ls [OPTIONS] [NAME[:TAG]]
       minirun image ls [OPTIONS] IMAGE PATH"
    )]
    Ls {
        /// json, or a Go template: '{{.Mode}} {{.Name}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// An image, a container, or the path of an archive or directory
        #[arg(value_name = "IMAGE")]
        image: String,
        /// A directory or a file in it
        #[arg(value_name = "PATH")]
        path: String,
    },
    /// Print a file of an image, which needs no shell for that
    Cat {
        /// An image, a container, or the path of an archive or directory
        #[arg(value_name = "IMAGE")]
        image: String,
        /// A file in it
        #[arg(value_name = "PATH")]
        path: String,
    },
    /// Show an image's layers: what each adds, and what of it later ones hide
    Tree {
        /// json for a program
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// An image, a container, or the path of an archive
        #[arg(value_name = "IMAGE")]
        image: String,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        Verb::Ls { format, image, path } => {
            let rows = look::list(roots, &caller::word(image), path)?;
            let rows: Vec<Row> = rows.iter().map(fields).collect();
            format::print_rows(format.as_deref(), false, &FILES, &rows)?;
        }
        Verb::Cat { image, path } => _ = ui::or_gone(look::print(roots, &caller::word(image), path))?,
        Verb::Tree { format, image } => {
            let tree = look::layers(roots, &caller::word(image))?;
            match format.as_deref() {
                None | Some("") => page(&tree)?,
                Some("json") => ui::print(&format!("{}\n", document(&tree)))?,
                Some(other) => {
                    return Err(Error::new(Kind::Usage, format!("image tree has no format {other:?}"))
                        .hint("minirun image tree --format json"));
                }
            }
        }
    }
    Ok(0)
}

const FILES: Listing = Listing {
    fields: &[
        ("Mode", "MODE"),
        ("Owner", "OWNER"),
        ("Size", "SIZE"),
        ("Modified", "MODIFIED"),
        ("Name", "NAME"),
        ("Target", "TARGET"),
    ],
    table: r"{{.Mode}}\t{{.Owner}}\t{{.Size}}\t{{.Modified}}\t{{.Name}}\t{{.Target}}",
    quiet: "{{.Name}}",
};

fn fields(of: &FileRow) -> Row {
    let minute = of.modified.get(..16).unwrap_or_default().replace('T', " ");
    row([
        ("Mode", of.mode.as_str().into()),
        ("Owner", of.owner.as_str().into()),
        ("Size", ui::decimal(of.size).into()),
        ("Modified", minute.into()),
        ("Name", of.name.as_str().into()),
        ("Target", of.target.clone().unwrap_or_default().into()),
    ])
}

fn page(tree: &LayerTree) -> Result<()> {
    let architecture = tree.architecture.as_ref().map(|is| format!(", {is}")).unwrap_or_default();
    let files = format!("{} files of {}", tree.files, ui::decimal(tree.size));
    ui::line(&format!("{}{architecture}: {files}", tree.name))?;
    let lines = tree.layers.iter().enumerate().map(|(at, layer)| {
        let hidden = if layer.hidden > 0 { ui::decimal(layer.hidden) } else { "-".to_owned() };
        vec![
            format!("{}", at + 1),
            layer.id.clone(),
            layer.stored.map_or_else(|| "-".to_owned(), ui::decimal),
            ui::decimal(layer.bytes),
            format!("{}", layer.added),
            format!("{}", layer.changed),
            format!("{}", layer.deleted),
            hidden,
            if layer.by.is_empty() { "-".to_owned() } else { layer.by.clone() },
        ]
    });
    let lines: Vec<Vec<String>> = lines.collect();
    let header = ["LAYER", "ID", "STORED", "SIZE", "ADDED", "CHANGED", "DELETED", "HIDES", "CREATED BY"];
    ui::table(&header, &lines, ui::Width::Fits)?;
    ui::print(&format!("efficiency {:.1} %, {} wasted\n", tree.efficiency, ui::decimal(tree.wasted)))?;
    if !tree.worst.is_empty() {
        let worst = tree.worst.iter();
        let worst = worst.map(|(copies, hidden, path)| vec![ui::decimal(*hidden), format!("{copies}"), path.clone()]);
        ui::table(&["WASTED", "COPIES", "PATH"], &worst.collect::<Vec<_>>(), ui::Width::Fits)?;
    }
    Ok(())
}

fn document(tree: &LayerTree) -> Value {
    let layer = |layer: &look::LayerRow| {
        json!({
            "id": layer.id,
            "stored": layer.stored,
            "files": layer.files,
            "size": layer.bytes,
            "added": layer.added,
            "changed": layer.changed,
            "deleted": layer.deleted,
            "hides": layer.hidden,
            "created_by": layer.by,
        })
    };
    let wasted =
        tree.worst.iter().map(|(copies, hidden, path)| json!({ "path": path, "copies": copies, "wasted": hidden }));
    json!({
        "name": tree.name,
        "architecture": tree.architecture,
        "files": tree.files,
        "size": tree.size,
        "wasted": tree.wasted,
        "efficiency": tree.efficiency,
        "layers": tree.layers.iter().map(layer).collect::<Value>(),
        "wasted_paths": wasted.collect::<Value>(),
    })
}
