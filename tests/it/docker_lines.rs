//! What the documentation of docker and of the official images says to type, typed with minirun in docker's place:
//! tests/docker/lines.md, one sandbox for each of its chapters. The images are our own, by tests/docker/images.txt.

use crate::support::command::output;
use crate::support::console::{Console, Step, rewritten, steps};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::source::{read, repository};
use std::collections::BTreeSet;
use std::sync::Mutex;

const FILE: &str = "tests/docker/lines.md";

/// Where the lines' own directories of the host are: `/some/content` is `some/content` below the test's directory.
/// The words are written `/here/…` there, for a shell to find.
const ELSEWHERE: &[&str] =
    &["/some/", "/my/", "/myredis/", "/your/", "/host/", "/mnt/registry", "/custom/", "/tmp/docker_test.cid"];

/// A test for each chapter, by its heading.
macro_rules! chapters {
    ($($test:ident: $heading:literal $(needs $tool:literal)?,)+) => {
        const CHAPTERS: &[&str] = &[$($heading),+];
        $(
            #[test]
            fn $test() {
                requires![root, cgroup("memory") $(, tool($tool))?];
                as_documented($heading);
            }
        )+
    };
}

chapters! {
    postgres: "postgres",
    redis_and_memcached: "redis, memcached",
    nginx_and_httpd: "nginx, httpd",
    registry: "registry",
    mysql_and_mariadb: "mysql, mariadb",
    mongo_and_rabbitmq: "mongo, rabbitmq",
    languages: "node, python and other languages",
    applications: "wordpress and other applications",
    run: "docker run",
    containers: "docker's other commands for containers",
    images_and_volumes: "docker's commands for images and volumes",
    refused: "flags and commands that are not supported",
    networks: "networks of one's own",
    own_registry: "a registry of one's own" needs "docker-registry",
}

/// The text of a chapter as console steps, its lines numbered as in the file.
fn chapter(text: &str, heading: &str) -> Vec<Step> {
    let mut inside = false;
    let mut only = String::new();
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("## ") {
            inside = found == heading;
        }
        only.push_str(if inside { line } else { "" });
        only.push('\n');
    }
    steps(&only)
}

#[track_caller]
fn as_documented(heading: &str) {
    let steps = chapter(&read(FILE), heading);
    let sandbox = Sandbox::with_images(&["busybox"]);
    make_images(&sandbox, &steps);
    let mut console = Console::new(&sandbox, "docker");
    let home = sandbox.path("here").display().to_string();
    let place = |line: &str| {
        let mut line = line.to_owned();
        for dir in ELSEWHERE {
            for before in [" ", "=", "\""] {
                line = line.replace(&format!("{before}{dir}"), &format!("{before}{home}{dir}"));
            }
        }
        line
    };
    let wrong: Vec<_> = steps.iter().filter_map(|step| console.does(step, place)).collect();
    if std::env::var_os("MINIRUN_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap();
        let text = read(FILE);
        // another chapter may have been written anew meanwhile: by how many lines this one has moved
        let moved = chapter(&text, heading)[0].line as isize - steps[0].line as isize;
        let wrong: Vec<_> = wrong.into_iter().map(|wrong| wrong.moved(moved)).collect();
        std::fs::write(repository().join(FILE), rewritten(&text, &wrong)).unwrap();
        return;
    }
    let said: String = wrong.iter().map(|wrong| format!("{FILE}:{}: {}\n", wrong.line, wrong.why)).collect();
    assert!(wrong.is_empty(), "{} of {} steps\n{said}", wrong.len(), steps.len());
}

/// An image of images.txt: its names, and what its configuration is changed by.
struct Image<'a> {
    names: Vec<&'a str>,
    changes: Vec<&'a str>,
}

fn images(text: &str) -> Vec<Image<'_>> {
    let mut images: Vec<Image<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(change) => images.last_mut().unwrap().changes.push(change),
            None => images.push(Image { names: line.split(' ').collect(), changes: Vec::new() }),
        }
    }
    images
}

/// Makes those that the steps name: commits of one container, into which the stand-ins were copied.
fn make_images(sandbox: &Sandbox, steps: &[Step]) {
    let stand_in = read("tests/docker/stand-in");
    let names: Vec<&str> = stand_in
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_once(')'))
        .flat_map(|(names, _)| names.split(" | "))
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')))
        .collect();
    let root = sandbox.path("programs");
    let script = format!(
        "set -e; mkdir -p '{0}/usr/local/bin' '{0}/usr/bin' '{0}/var/run' '{0}/var/cache'; cd '{0}/usr/local/bin'
        ln -s /usr/local/bin/stand-in '{0}/usr/bin/bash'
        mkdir -p -m 1777 '{0}/var/lib/postgresql/data' '{0}/var/lib/mysql' # where any user may make a data base
        cp '{1}' stand-in; for name in {2}; do ln -s stand-in $name; done
        cd '{0}'; cp -r '{3}/.' .",
        root.display(),
        repository().join("tests/docker/stand-in").display(),
        names.join(" "),
        repository().join("tests/docker/files").display(),
    );
    sandbox.sh(&script).expect_code(0);
    sandbox.minirun(&["create", "--name", "base", "--network", "none", "busybox"]).expect_code(0);
    sandbox.minirun(&["cp", &format!("{}/.", root.display()), "base:/"]).expect_code(0);
    let commands: String = steps.iter().map(|step| step.command.replace('\n', " ") + " ").collect();
    for image in images(&read("tests/docker/images.txt")) {
        for name in image.names.iter().filter(|name| named(&commands, name)) {
            let changes = image.changes.iter().flat_map(|change| ["-c", change]);
            let args: Vec<&str> = ["commit"].into_iter().chain(changes).chain(["base", name]).collect();
            output(&mut sandbox.minirun_command(&args)).expect_code(0);
        }
    }
    sandbox.minirun(&["rm", "base"]).expect_code(0);
}

/// Whether a line names the image, with or without the tag that needs no naming.
fn named(commands: &str, image: &str) -> bool {
    commands.split_whitespace().any(|word| word == image || word.strip_suffix(":latest") == Some(image))
}

#[test]
fn the_lines_are_docker_s_own_and_many() {
    let text = read(FILE);
    let steps = steps(&text);
    let documented: BTreeSet<&str> =
        steps.iter().filter(|step| !step.own && step.command.contains("docker ")).map(|s| s.command.as_str()).collect();
    assert!(documented.len() >= 60, "{}", documented.len());
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, CHAPTERS, "a chapter of {FILE} is a line of `chapters!`");
    for heading in CHAPTERS {
        let from = text.split_once(&format!("\n## {heading}\n")).unwrap().1;
        let from = from.split("\n## ").next().unwrap();
        assert!(from.contains("https://"), "{heading}: say whose documentation it is");
    }
}

#[test]
fn what_differs_says_why() {
    let text = read(FILE);
    let lines: Vec<&str> = text.lines().collect();
    let chapters_of_differences = ["flags and commands that are not supported", "networks of one's own"];
    for step in CHAPTERS.iter().filter(|h| !chapters_of_differences.contains(h)).flat_map(|h| chapter(&text, h)) {
        let refused = step.expected.iter().any(|line| line.starts_with("hint: "));
        // docker's own documentation of its exit codes refuses, too
        let block = lines[..step.line].iter().rposition(|line| *line == "```console").unwrap();
        let why = lines[..block].iter().rev().find(|line| !line.is_empty()).unwrap();
        let paragraph: String = lines[..block]
            .iter()
            .rev()
            .skip_while(|line| line.is_empty())
            .take_while(|line| !line.is_empty())
            .copied()
            .collect();
        let said = paragraph.contains("Differs: ") || paragraph.contains("refused as docker refuses it");
        assert!(!refused || said, "{FILE}:{}: say before the block what differs: {why}", step.line);
    }
}
