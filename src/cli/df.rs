//! `minirun system df`.

use super::format::{self, Listing, Row, row};
use super::{images, ps, ui};
use crate::error::Result;
use crate::ops::df::{self, OfImage, OfVolume, Taken};
use crate::state::Roots;

const SUMS: Listing = Listing {
    fields: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Bytes", "BYTES"),
    ],
    table: r"{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

pub(super) fn sums(roots: &Roots, format: Option<&str>) -> Result<u8> {
    let fields = |taken: &Taken| {
        let share = (taken.reclaimable * 100).checked_div(taken.size);
        let share = share.map(|share| format!(" ({share}%)")).unwrap_or_default();
        row([
            ("Type", taken.kind.into()),
            ("TotalCount", taken.total.to_string().into()),
            ("Active", taken.active.to_string().into()),
            ("Size", ui::decimal(taken.size).into()),
            ("Reclaimable", format!("{}{share}", ui::decimal(taken.reclaimable)).into()),
            ("Bytes", taken.size.to_string().into()),
        ])
    };
    let rows: Vec<Row> = df::df(roots)?.iter().map(fields).collect();
    format::print_rows(format, false, &SUMS, &rows).map(|()| 0)
}

const IMAGES: Listing = Listing {
    fields: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    table: r"{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    quiet: "{{.ID}}",
};

const CONTAINERS: Listing = Listing {
    table: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ..ps::LISTING
};

const VOLUMES: Listing = Listing {
    fields: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    table: r"{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "{{.Name}}",
};

/// `-v`: three tables, as docker has them.
pub(super) fn each(roots: &Roots) -> Result<u8> {
    let each = df::each(roots)?;
    let image = |of: &OfImage| {
        let mut fields = images::fields(&of.row, false);
        fields.extend(row([
            ("SharedSize", ui::decimal(of.shared).into()),
            ("UniqueSize", ui::decimal(of.row.size.saturating_sub(of.shared)).into()),
            ("Containers", of.containers.to_string().into()),
        ]));
        fields
    };
    let volume = |of: &OfVolume| {
        row([
            ("Name", of.name.as_str().into()),
            ("Links", of.users.map_or_else(|| "?".to_owned(), |users| users.to_string()).into()),
            ("Size", ui::decimal(of.size).into()),
        ])
    };
    let tables: [(&str, &Listing, Vec<Row>); 3] = [
        ("Images", &IMAGES, each.images.iter().map(image).collect()),
        ("Containers", &CONTAINERS, each.containers.iter().map(|of| ps::fields(of, false)).collect()),
        ("Local Volumes", &VOLUMES, each.volumes.iter().map(volume).collect()),
    ];
    for (at, (kind, listing, rows)) in tables.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        ui::print(&format!("{gap}{kind} space usage:\n\n"))?;
        format::print_rows(None, false, listing, rows)?;
    }
    Ok(0)
}
