//! The reference, tests/cli/COMMAND.md: a page for each command, whose consoles are true. Each page has a host of its
//! own with the images hello and busybox. A new page is a new file; with MINIRUN_WRITE_GOLDEN=1 it is given its outputs.

use crate::support::command::output;
use crate::support::console::{Console, rewritten, steps};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout, minirun_binary};
use crate::support::source::{read, repository};
use std::process::Command;
use std::sync::Mutex;

/// The commands that have a page, in order.
fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(repository().join("tests/cli")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names.map(|name| name.strip_suffix(".md").expect(&name).to_owned()).collect();
    pages.sort();
    pages
}

fn path(page: &str) -> String {
    format!("tests/cli/{page}.md")
}

/// The commands that `minirun --help` lists; that these are all, a test of `cli` holds.
fn commands() -> Vec<String> {
    let help = output(Command::new(minirun_binary()).arg("--help")).text();
    let rows = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(' ')).map(|(name, _)| name);
    let mut commands: Vec<String> = rows
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    commands.sort();
    commands.dedup();
    commands
}

/// What is wrong with a page; nothing where it was written anew.
fn run(page: &str) -> String {
    let text = read(&path(page));
    let sandbox = Sandbox::with_images(&["busybox"]);
    let mut console = Console::new(&sandbox, "minirun");
    let layout = image_layout("busybox");
    console.set("MINIRUN_TEST_LAYOUT", layout.to_str().unwrap());
    let steps = steps(&text);
    let wrong: Vec<_> = steps.iter().filter_map(|step| console.does(step, str::to_owned)).collect();
    if std::env::var_os("MINIRUN_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(repository().join(path(page)), rewritten(&text, &wrong)).unwrap();
        return String::new();
    }
    wrong.iter().map(|wrong| format!("{}:{}: {}\n", path(page), wrong.line, wrong.why)).collect()
}

/// All pages, or that of MINIRUN_PAGE, a few at a time.
#[test]
fn the_pages_are_true() {
    requires![root, cgroup("memory")];
    let only = std::env::var("MINIRUN_PAGE").ok();
    let left = Mutex::new(pages().into_iter().filter(|page| only.as_ref().is_none_or(|only| only == page)));
    let wrong = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                let next = || left.lock().unwrap().next();
                while let Some(page) = next() {
                    // the others go on, and are heard of, too
                    let said =
                        std::panic::catch_unwind(|| run(&page)).unwrap_or_else(|_| format!("{page}: see above\n"));
                    wrong.lock().unwrap().push_str(&said);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_command_has_a_page_and_every_page_a_command() {
    let (pages, commands) = (pages(), commands());
    assert!(commands.len() > 30, "{commands:?}");
    for command in &commands {
        assert!(pages.contains(command), "{}: is still to be written", path(command));
    }
    for page in &pages {
        assert!(commands.contains(page), "{}: there is no such command", path(page));
    }
}

#[test]
fn pages_say_what_a_command_does_shows_and_refuses() {
    for page in pages() {
        let text = read(&path(&page));
        assert!(text.starts_with(&format!("# minirun {page}\n\n")), "{page}: begin with its name");
        let uses =
            |step: &&crate::support::console::Step| !step.own && step.command.contains(&format!("minirun {page}"));
        let examples = steps(&text).iter().filter(uses).count();
        assert!((1..=24).contains(&examples), "{page}: {examples} examples");
        assert!(text.contains("\n## When it goes wrong\n"), "{page}: what goes wrong, and what is said then?");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{page}: lines of at most 120 characters");
    }
}

#[test]
fn pages_name_only_commands_that_are() {
    let commands = commands();
    for page in pages() {
        let text = read(&path(&page));
        let spans = text.split('`').skip(1).step_by(2).map(str::to_owned);
        let lines = steps(&text).into_iter().map(|step| step.command);
        for code in spans.chain(lines) {
            for after in code.split("minirun ").skip(1) {
                let word = after.split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
                let named = word.is_empty() || word == "help" || commands.iter().any(|command| command == word);
                assert!(named, "{page}: minirun {word} of {code:?}");
            }
        }
    }
}
