//! Manual pages, from the grammar that parses: one for minirun, one for each command. Text alone: who asks for a page
//! gets it on stdout, and `hack/install` puts it where man(1) looks.

use super::{command, ui, usage};
use crate::error::{Error, Kind, Result};
use clap::{Arg, Command};

/// Print the manual page of minirun, or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun man run | man -l -")]
pub(super) struct Args {
    /// The names of all pages
    #[arg(short, long, conflicts_with = "page")]
    list: bool,
    /// A command [minirun itself]
    #[arg(value_name = "COMMAND")]
    page: Option<String>,
}

pub(super) fn main(args: &Args) -> Result<u8> {
    let mut root = command();
    root.build();
    if args.list {
        let names: String = pages(&root).map(|sub| format!("minirun-{}\n", sub.get_name())).collect();
        return ui::print(&format!("minirun\n{names}")).map(|()| 0);
    }
    let name = args.page.as_deref().map_or("minirun", |name| name.strip_prefix("minirun-").unwrap_or(name));
    let page = match pages(&root).find(|sub| sub.get_name() == name) {
        Some(sub) => of_command(sub, &root),
        None if name == "minirun" => of_all(&root),
        None => return Err(Error::new(Kind::Usage, format!("no manual page {name}")).hint("minirun man --list")),
    };
    ui::print(&page).map(|()| 0)
}

/// The commands that have one.
fn pages(root: &Command) -> impl Iterator<Item = &Command> {
    root.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

/// minirun(1).
fn of_all(root: &Command) -> String {
    let mut page = title("minirun", "a minimal container runtime");
    page += &section("SYNOPSIS", "\\fBminirun\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARG\\fR...]\n");
    page += &section("DESCRIPTION", &paragraphs(DESCRIPTION));
    page += ".SH COMMANDS\n";
    for line in usage::HELP.lines() {
        let named = line.strip_prefix("  ").and_then(|line| root.find_subcommand(line.split(' ').next()?));
        match (named, line.strip_suffix(':').filter(|heading| *heading != "Options")) {
            (Some(sub), _) => {
                let name = sub.get_name();
                page += &format!(".TP\n.BR minirun\\-{} (1)\n{}\n", escaped(name), escaped(&about(sub)));
            }
            (None, Some(heading)) => page += &format!(".SS {}\n", escaped(heading)),
            (None, None) => {}
        }
    }
    page += &section("OPTIONS", &flags(root));
    for (heading, terms) in TABLES {
        let terms: String = terms.iter().map(|(term, text)| entry(&bold(term), text)).collect();
        page += &section(heading, &terms);
    }
    let examples: Vec<&str> = usage::INTRODUCTION.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    page + &section("EXAMPLES", &lines(&examples))
}

const DESCRIPTION: &str = "\
minirun runs containers: one static binary, no daemon. It takes an image, unpacks it into directories, starts a process \
in namespaces and a cgroup of its own, and wires it to a bridge with NAT and published ports.

The words and flags are docker's. What minirun does for a command line stands in the output of run --explain, as the \
shell line of each step.

Beside each container lives one small process, its monitor, which keeps its output and sees its end. A name of a \
container or image may be an id or its unique beginning.";

/// A heading, and terms with a text on each.
type Table = (&'static str, &'static [(&'static str, &'static str)]);

const TABLES: [Table; 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "It is done."),
            ("1", "It is not. The reason stands on the standard error."),
            ("2", "The command line was not understood."),
            (
                "125, 126, 127",
                "Of run, create and exec: minirun failed; the command cannot be executed; it is not there.",
            ),
            ("any other", "Of run, exec, start -a and attach: the command's own, 128 and the number of a signal."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("MINIRUN_ROOT, MINIRUN_STATE, MINIRUN_CONFIG", "What --root, --state and --config say."),
            ("DOCKER_CONFIG, REGISTRY_AUTH_FILE", "Where logins to registries are kept."),
            ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "The way to registries."),
            ("NO_COLOR", "No colour, whatever its value."),
        ],
    ),
    (
        "FILES",
        &[
            ("/var/lib/minirun", "Images, containers and volumes: what outlives a reboot."),
            ("/run/minirun", "What runs: gone at reboot."),
            ("/etc/minirun/config.toml", "Mirrors, and registries without TLS. It may be missing."),
        ],
    ),
];

/// minirun-COMMAND(1). Verbs stand on the page of their command.
fn of_command(of: &Command, root: &Command) -> String {
    let name = of.get_name();
    let mut page = title(&format!("minirun-{name}"), &about(of));
    let (text, examples) = after(of);
    page += &section("SYNOPSIS", &synopsis(of));
    page += &section("DESCRIPTION", &paragraphs(&format!("{}.\n\n{text}", about(of))));
    page += &section("ARGUMENTS", &arguments(of));
    let mut verbs = String::new();
    for verb in of.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        verbs += &match super::groups::short_form(name, verb.get_name(), &[])
            .filter(|_| verb.get_positionals().next().is_none())
        {
            Some(short) => {
                let command = short.split(' ').next().unwrap_or(short);
                format!("{}.RB ( minirun\\-{} (1))\n", entry(&bold(verb.get_name()), &about(verb)), escaped(command))
            }
            None => format!(
                ".SS {}\n{}.PP\n{}.\n{}{}",
                escaped(verb.get_name()),
                synopsis(verb),
                escaped(&about(verb)),
                arguments(verb),
                flags(verb)
            ),
        };
    }
    page += &section("COMMANDS", &verbs);
    page += &section("OPTIONS", &flags(of));
    page += &section("EXAMPLES", &lines(&examples.iter().map(String::as_str).collect::<Vec<_>>()));
    let near = near(name, root).into_iter().map(|near| format!(".BR minirun\\-{near} (1)"));
    let pages: Vec<String> = [".BR minirun (1)".to_owned()].into_iter().chain(near).collect();
    page + &section("SEE ALSO", &format!("{}\n", pages.join(",\n")))
}

/// The commands before and after it in the same group of the help.
fn near<'a>(name: &str, root: &'a Command) -> Vec<&'a str> {
    let mut group = Vec::new();
    for line in usage::HELP.lines() {
        match line.strip_prefix("  ").and_then(|line| root.find_subcommand(line.split(' ').next()?)) {
            Some(sub) => group.push(sub.get_name()),
            None if group.contains(&name) => break,
            None => group.clear(),
        }
    }
    let at = group.iter().position(|known| *known == name).unwrap_or(0);
    let around = group.iter().enumerate().filter(|(i, _)| *i != at && i.abs_diff(at) <= 2);
    around.map(|(_, name)| *name).collect()
}

fn title(name: &str, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (upper, name) = (escaped(&name.to_uppercase()), escaped(name));
    format!(
        ".TH {upper} 1 \"\" \"minirun {version}\" \"minirun\"\n.nh\n.ad l\n.SH NAME\n{name} \\- {}\n",
        escaped(about)
    )
}

/// Nothing where there is no text.
fn section(heading: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(".SH {heading}\n{text}") }
}

fn about(of: &Command) -> String {
    of.get_about().map(ToString::to_string).unwrap_or_default()
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

fn entry(term: &str, text: &str) -> String {
    format!(".TP\n{term}\n{}\n", escaped(text))
}

fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| format!(".PP\n{}\n", escaped(part.trim()))).collect()
}

/// Lines that stay lines.
fn lines(lines: &[&str]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("{}\n", escaped(line))).collect();
    format!(".nf\n{lines}.fi\n")
}

/// `minirun run [OPTIONS] IMAGE`, a line for each form, the words to type in bold.
fn synopsis(of: &Command) -> String {
    let usage = of.clone().render_usage().to_string();
    let typed = of.get_bin_name().unwrap_or("minirun");
    let forms = usage.trim_start_matches("Usage:").lines().map(|line| match line.trim().strip_prefix(typed) {
        Some(rest) => format!("{}{}\n", bold(typed), escaped(rest)),
        None => format!("{}\n", escaped(line.trim())),
    });
    forms.collect::<Vec<_>>().join(".br\n")
}

fn arguments(of: &Command) -> String {
    let shown = of.get_positionals().filter(|arg| !arg.is_hide_set());
    shown.filter_map(|arg| Some(entry(&italic(&value_name(arg)), &arg.get_help()?.to_string()))).collect()
}

/// Under their headings, in the order of the help.
fn flags(of: &Command) -> String {
    let shown = || of.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let mut headings: Vec<Option<&str>> = Vec::new();
    for heading in shown().map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings.sort_by_key(Option::is_none);
    let one = |heading: Option<&str>| -> String {
        let flags: String = shown().filter(|arg| arg.get_help_heading() == heading).map(flag).collect();
        // what has no heading stands last, and is told apart where there are others
        let heading = heading.or((headings.len() > 1).then_some("Other"));
        heading.map(|heading| format!(".SS {}\n", escaped(heading))).unwrap_or_default() + &flags
    };
    headings.iter().map(|heading| one(*heading)).collect()
}

fn flag(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| bold(&format!("-{short}")));
    let long = arg.get_long().map(|long| bold(&format!("--{long}")));
    let more = arg.get_visible_aliases().unwrap_or_default().into_iter().map(|alias| bold(&format!("--{alias}")));
    let mut term = short.into_iter().chain(long).chain(more).collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() {
        let value = italic(&value_name(arg));
        term += &if arg.is_require_equals_set() { format!("[={value}]") } else { format!(" {value}") };
    }
    let help = match arg.get_id().as_str() {
        "help" => "Print help".to_owned(), // clap tells -h and --help apart
        _ => arg.get_help().map(ToString::to_string).unwrap_or_default(),
    };
    entry(&term, &help)
}

fn value_name(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    name.unwrap_or_else(|| arg.get_id().as_str().to_uppercase())
}

/// What stands below the help: text, and the lines of its examples.
fn after(of: &Command) -> (String, Vec<String>) {
    let after = of.get_after_long_help().or(of.get_after_help()).map(ToString::to_string).unwrap_or_default();
    let (mut text, mut examples, mut inside) = (String::new(), Vec::new(), false);
    for line in after.lines() {
        if let Some(first) = line.strip_prefix("Example:").or_else(|| line.strip_prefix("Examples:")) {
            inside = true;
            examples.extend(Some(first.trim().to_owned()).filter(|first| !first.is_empty()));
        } else if inside && line.starts_with(' ') {
            examples.push(line.trim().to_owned());
        } else {
            inside = false;
            text += &format!("{line}\n");
        }
    }
    (text, examples)
}

/// Text as troff prints it (groff_char(7)): its own signs, quotes that stay what they are, and no letter beyond ASCII.
fn escaped(text: &str) -> String {
    let mut done = String::new();
    for (at, c) in text.char_indices() {
        let first_in_line = at == 0 || text[..at].ends_with('\n');
        match c {
            '\\' => done += "\\e",
            '-' => done += "\\-",
            '\'' => done += "\\(aq",
            '`' => done += "\\(ga",
            '^' => done += "\\(ha",
            '~' => done += "\\(ti",
            '.' if first_in_line => done += "\\&.",
            c if c.is_ascii() => done.push(c),
            c => done += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_be_taken_for_a_request_of_troff() {
        for (text, want) in [
            (".TH x", "\\&.TH x"),
            ("'quoted' \\n", "\\(aqquoted\\(aq \\en"),
            ("a --flag …", "a \\-\\-flag \\[u2026]"),
            ("one\n.two", "one\n\\&.two"),
        ] {
            assert_eq!(escaped(text), want);
        }
    }

    #[test]
    fn every_command_has_a_page_with_all_its_flags() {
        let mut root = command();
        root.build();
        let all = of_all(&root);
        for sub in pages(&root) {
            let page = of_command(sub, &root);
            assert!(all.contains(&format!(".BR minirun\\-{} (1)\n", sub.get_name())), "{}", sub.get_name());
            let flags = sub.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
            for flag in flags {
                assert!(page.contains(&bold(&format!("--{flag}"))), "{}: {flag}", sub.get_name());
            }
            assert!(page.contains(".SH SYNOPSIS\n\\fBminirun "), "{page}");
        }
        let verbs = of_command(root.find_subcommand("volume").unwrap(), &root);
        assert!(verbs.contains("\\fBminirun volume create\\fR [OPTIONS] [NAME]"), "{verbs}");
    }

    #[test]
    fn examples_are_told_from_text() {
        let root = command();
        let (text, examples) = after(root.find_subcommand("run").unwrap());
        assert!(text.contains("The words after IMAGE") && !text.contains("Example"), "{text}");
        assert_eq!(examples[0], "minirun run --rm -it busybox sh");
        let (text, examples) = after(root.find_subcommand("start").unwrap());
        assert_eq!(
            (text.as_str(), &examples[..]),
            ("", &["minirun start web".to_owned(), "minirun start -ai shell".to_owned()][..])
        );
    }
}
