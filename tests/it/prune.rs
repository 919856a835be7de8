//! What nobody uses any more goes when that is asked for, and nothing else.

use crate::detached::{does, refused, row, up_alone};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

/// What is there, by docker's names.
fn there(sandbox: &Sandbox) -> (String, String, String) {
    let says = |args: &[&str]| does(sandbox, args).stdout.replace('\n', " ").trim().to_owned();
    let containers = says(&["ps", "-a", "--format", "{{.Names}}"]);
    (
        containers,
        says(&["images", "--format", "{{.Repository}}"]),
        says(&["volume", "ls", "-q", "--filter", "name=data"]),
    )
}

#[test]
fn only_what_is_not_in_use_is_pruned() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "static"]);
    up_alone(&sandbox, &["--name", "runs", "-v", "data:/data"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "ended", "-v", "/anonymous"], &["true"]);
    does(&sandbox, &["wait", "ended"]);
    does(&sandbox, &["create", "--name", "created", "--network", "none", "static", "/x"]);
    does(&sandbox, &["commit", "ended", "nameless:1"]);
    does(&sandbox, &["tag", "busybox", "nameless:1"]); // the commit has no name any more
    let disk = does(&sandbox, &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]).stdout;
    assert_eq!(disk, "Images 3 2\nContainers 3 1\nLocal Volumes 2 2\nLayers 2 2\n");

    let each = does(&sandbox, &["system", "df", "-v"]).stdout;
    for heading in ["Images space usage:", "UNIQUE SIZE", "Containers space usage:", "LINKS"] {
        assert!(each.contains(heading), "{each}");
    }
    let line = |begins: &str| each.lines().find(|line| line.starts_with(begins)).unwrap().split_whitespace().collect();
    let (busybox, data): (Vec<&str>, Vec<&str>) = (line("busybox"), line("data"));
    assert_eq!((busybox.last(), data[1]), (Some(&"2"), "1"), "{each}");

    refused(&sandbox, &["system", "prune"], 1, "nobody is there to ask");
    let said = does(&sandbox, &["image", "prune", "-f"]).stdout;
    assert!(said.contains("deleted: sha256:") && said.contains("Total reclaimed space: "), "{said}");
    let (containers, images, volumes) = there(&sandbox);
    assert_eq!(containers, "created ended runs");
    assert!(!images.contains("<none>") && images.contains("static"), "{images}");
    assert_eq!(volumes, "data");
    let said = does(&sandbox, &["container", "prune", "--force"]).stdout;
    assert_eq!(said.lines().filter(|line| line.len() == 64).count(), 2, "{said}");
    assert_eq!(there(&sandbox).0, "runs");
    assert!(there(&sandbox).1.contains("static"));
    let said = does(&sandbox, &["system", "prune", "-a", "--volumes", "-f"]).stdout;
    assert!(said.contains("untagged: static:latest") && said.contains("Deleted Volumes:"), "{said}");
    let (containers, images, volumes) = there(&sandbox);
    assert_eq!((containers.as_str(), volumes.as_str()), ("runs", "data"));
    assert!(images.contains("busybox") && !images.contains("static"), "{images}");
    assert!(row(&sandbox, "runs").unwrap().contains("Up"));
}

#[test]
fn filters_say_what_of_it_goes() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (name, label) in [("a", "x=1"), ("b", "x=2"), ("c", "y")] {
        does(&sandbox, &["create", "--name", name, "-l", label, "--network", "none", "busybox"]);
    }
    let left = |filters: &[&str]| {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        does(&sandbox, &[&["container", "prune", "-f"][..], &filters].concat());
        there(&sandbox).0
    };
    for (filters, want) in [
        (&["until=1h"][..], "c b a"),
        (&["label=x", "label=y"], "c b a"),
        (&["until=0s", "label=x=2"], "c a"),
        (&["label!=x"], "a"),
        (&["until=2020-01-01"], "a"),
        (&["until=0s"], ""),
    ] {
        assert_eq!(left(filters), want, "{filters:?}");
    }
    refused(&sandbox, &["container", "prune", "-f", "--filter", "name=a"], 2, "unknown filter");
    refused(&sandbox, &["image", "prune", "-f", "--filter", "until=later"], 2, "invalid time");
    refused(&sandbox, &["system", "prune", "-f", "--volumes", "--filter", "until=1h"], 2, "their age");
    does(&sandbox, &["image", "prune", "-af", "--filter", "label=other"]);
    assert!(there(&sandbox).1.contains("busybox"));
    does(&sandbox, &["system", "prune", "-af", "--filter", "label!=other"]);
    assert_eq!(there(&sandbox).1, "");
}
