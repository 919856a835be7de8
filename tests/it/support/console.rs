//! Consoles written down: the ```console blocks of a Markdown file, run on a sandbox's host and compared.
//!
//! ```console
//! $ minirun run --name web -d busybox sleep 1000     the command; lines that begin with > go on with it
//! [id]                                               64 hexadecimal digits
//! $ minirun run busybox sh -c 'date; exit 7'
//! [..]2026                                           [..] is anything within a line, ... any number of lines
//! ? 7                                                the exit code, where it is not 0
//! $ minirun run -it busybox
//! < exit                                             typed, once the line before it, or anything, stands there
//! / # exit
//! % mkdir site                                       what the test does for itself
//! ```
//!
//! Standard error comes after standard output. A command that only looks is asked again until it says what is written.
//! With MINIRUN_WRITE_GOLDEN=1 what does not match is written anew, to be looked at in a diff.

use super::command::{output, seconds};
use super::sandbox::{Sandbox, minirun_binary};
use super::terminal::Terminal;
use std::ops::Range;
use std::time::Instant;

/// A command and what it shall say.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Not the reader's, but what the test does to make it come true.
    pub own: bool,
    pub command: String,
    /// As written, `< typed` among it.
    pub expected: Vec<String>,
    /// Where that stands in the file, the exit code included; from 0.
    lines: Range<usize>,
    pub code: i32,
}

/// All consoles of a text, one after the other.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let begins = [("$ ", false), ("% ", true)].into_iter().find_map(|(p, own)| Some((line.strip_prefix(p)?, own)));
        if let Some((command, own)) = begins {
            let lines = number + 1..number + 1;
            let command = command.to_owned();
            steps.push(Step { line: number + 1, own, command, expected: Vec::new(), lines, code: 0 });
            goes_on = true;
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: output before any command", number + 1));
        match line.strip_prefix("> ").filter(|_| goes_on) {
            Some(more) => {
                step.command.push('\n');
                step.command.push_str(more);
                step.lines = number + 1..number + 1;
                continue;
            }
            None => goes_on = false,
        }
        step.lines.end = number + 1;
        match line.strip_prefix("? ") {
            Some(code) => step.code = code.parse().unwrap_or_else(|_| panic!("line {}: {line}", number + 1)),
            None => step.expected.push(line.to_owned()),
        }
    }
    steps
}

/// Who types the commands, and where.
#[derive(Debug)]
pub struct Console<'a> {
    pub sandbox: &'a Sandbox,
    /// The working directory, below the sandbox's.
    pub dir: &'static str,
    /// What minirun is called here.
    pub program: &'static str,
    /// Shell that goes before every command: what `% export …` has set.
    set: String,
}

/// What was wrong with one step.
#[derive(Debug)]
pub struct Wrong {
    pub line: usize,
    pub why: String,
    lines: Range<usize>,
    instead: Vec<String>,
}

impl Wrong {
    /// The same in a text in which it stands so many lines further down.
    pub fn moved(mut self, by: isize) -> Wrong {
        let move_it = |line: usize| line.checked_add_signed(by).unwrap();
        self.line = move_it(self.line);
        self.lines = move_it(self.lines.start)..move_it(self.lines.end);
        self
    }
}

impl<'a> Console<'a> {
    pub fn new(sandbox: &'a Sandbox, program: &'static str) -> Console<'a> {
        std::fs::create_dir_all(sandbox.path("here")).unwrap();
        std::fs::create_dir_all(sandbox.path("bin")).unwrap();
        std::os::unix::fs::symlink(minirun_binary(), sandbox.path("bin").join(program)).unwrap();
        // the first container would be told that it was not set
        sandbox.sh("echo 1 | tee /proc/sys/net/ipv4/ip_forward >/proc/sys/net/ipv6/conf/all/forwarding").expect_code(0);
        Console { sandbox, dir: "here", program, set: String::new() }
    }

    /// Sets a variable for all commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set.push_str(&format!("export {name}='{value}'\n"));
    }

    /// Does one step; `None` where all was as written.
    pub fn does(&mut self, step: &Step, place: impl Fn(&str) -> String) -> Option<Wrong> {
        if let Some(variable) = step.command.strip_prefix("export ").filter(|_| step.own) {
            self.set.push_str(&format!("export {variable}\n"));
            return None;
        }
        let end = Instant::now() + seconds(10);
        let typed = |line: &String| line.starts_with("< ");
        let written: Vec<&str> = step.expected.iter().filter(|line| !typed(line)).map(|line| line.trim_end()).collect();
        loop {
            let (text, code) = self.run(&place(&step.command), &step.expected);
            let said: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
            if code == step.code && same(&written, &said.iter().map(String::as_str).collect::<Vec<_>>()) {
                return None;
            }
            if self.only_looks(&step.command) && Instant::now() < end {
                std::thread::sleep(std::time::Duration::from_millis(50));
                continue;
            }
            let mut instead: Vec<String> = step.expected.iter().filter(|line| typed(line)).cloned().collect();
            instead.extend(said.iter().map(|line| known_as(line, &written)));
            instead.extend((code != 0).then(|| format!("? {code}")));
            let why = format!(
                "{}\nwritten, with {}:\n{}\nsaid, with {code}:\n{}\n",
                step.command,
                step.code,
                written.join("\n"),
                said.join("\n")
            );
            return Some(Wrong { line: step.line, why, lines: step.lines.clone(), instead });
        }
    }

    /// Output, then errors, and the exit code; on a terminal where it asks for one.
    fn run(&self, line: &str, expected: &[String]) -> (String, i32) {
        let (here, bin) = (self.sandbox.path(self.dir), self.sandbox.path("bin"));
        let (here, bin) = (here.display(), bin.display());
        let script = format!("cd '{here}'; export HOME='{here}' PATH='{bin}':\"$PATH\"\n{}{line}", self.set);
        let mut command = self.sandbox.command("sh");
        command.args(["-c", &script]);
        if !self.wants_a_terminal(line) {
            let said = output(&mut command);
            let code = said.code();
            return (format!("{}{}", said.stdout, said.stderr), code);
        }
        let mut terminal = Terminal::start(&command);
        let mut before = None;
        for written in expected {
            match written.strip_prefix("< ") {
                Some(keys) => {
                    match before.take() {
                        Some(text) => terminal.expect(text),
                        None => terminal.expect_anything(),
                    }
                    terminal.write(&if keys == "^C" { "\x03".to_owned() } else { format!("{keys}\n") });
                }
                None => before = written.split("[..]").max_by_key(|part| part.len()).filter(|part| *part != "..."),
            }
        }
        let code = terminal.code();
        (without_escapes(&terminal.whole_screen()), code)
    }

    fn wants_a_terminal(&self, line: &str) -> bool {
        let mut words = line.split_whitespace().skip_while(|word| *word != self.program).skip(1);
        let verb = words.find(|word| *word != "container").unwrap_or_default();
        match verb {
            "run" | "exec" => words.any(|word| matches!(word, "-it" | "-ti" | "-t")),
            "start" => words.any(|word| matches!(word, "-i" | "-ai")),
            _ => false,
        }
    }

    /// Whether the command changes nothing and may be asked twice.
    fn only_looks(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let looks = ["logs", "ps", "inspect", "top", "port", "stats", "diff", "health"];
        words.next() == Some(self.program) && words.next().is_some_and(|verb| looks.contains(&verb))
    }
}

impl Drop for Console<'_> {
    /// What stands still in a frozen cgroup does not die with its sandbox.
    fn drop(&mut self) {
        let script = "minirun=$0; $minirun ps -q --filter status=paused | xargs -r $minirun unpause";
        let mut command = self.sandbox.command("bash");
        let _best_effort = command.args(["-c", script]).arg(minirun_binary()).output();
    }
}

/// The text with what was wrong as it is.
pub fn rewritten(text: &str, wrong: &[Wrong]) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for wrong in wrong.iter().rev() {
        lines.splice(wrong.lines.clone(), wrong.instead.iter().map(String::as_str));
    }
    lines.join("\n") + "\n"
}

/// A line as the reader knows it: by the pattern that it matches already, or with the ids that no other run has.
fn known_as(line: &str, written: &[&str]) -> String {
    let pattern = written.iter().find(|pattern| **pattern != "..." && matches(pattern, line));
    let word = |word: &str| match (word.len(), word.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        (64, true) => "[id]".to_owned(),
        (12, true) => "[..]".to_owned(),
        _ => word.to_owned(),
    };
    pattern.map_or_else(|| line.split(' ').map(word).collect::<Vec<_>>().join(" "), |pattern| (*pattern).to_owned())
}

/// Whether the lines are those written; `...` stands for any number of them.
fn same(written: &[&str], said: &[&str]) -> bool {
    match written.split_first() {
        None => said.is_empty(),
        Some((&"...", rest)) => (0..=said.len()).any(|skipped| same(rest, &said[skipped..])),
        Some((pattern, rest)) => {
            said.split_first().is_some_and(|(line, more)| matches(pattern, line) && same(rest, more))
        }
    }
}

/// Whether a line is one that a pattern stands for.
fn matches(pattern: &str, line: &str) -> bool {
    if let Some((before, after)) = pattern.split_once("[id]") {
        let id = line.strip_prefix(before).and_then(|rest| rest.split_at_checked(64));
        return !before.contains("[..]")
            && id.is_some_and(|(id, rest)| id.bytes().all(|b| b.is_ascii_hexdigit()) && matches(after, rest));
    }
    match pattern.split_once("[..]") {
        None => pattern == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// A screen as its text: no carriage returns, no control sequences.
fn without_escapes(screen: &str) -> String {
    let mut text = String::new();
    let mut chars = screen.chars().filter(|c| *c != '\r');
    while let Some(char) = chars.next() {
        if char == '\x1b' {
            let _the_rest_of_it = chars.find(|c| c.is_ascii_alphabetic() || *c == '~');
        } else {
            text.push(char);
        }
    }
    text
}

#[test]
fn consoles_are_read_and_written() {
    let text = "# x\n```console\n$ a \\\n>   b\nout\n? 7\n% c\n```\n$ no\n```sh\n$ no\n```\n";
    let steps = steps(text);
    let seen: Vec<_> = steps.iter().map(|s| (s.line, s.own, s.command.as_str(), s.expected.len(), s.code)).collect();
    assert_eq!(seen, [(3, false, "a \\\n  b", 1, 7), (7, true, "c", 0, 0)]);
    let wrong = Wrong { line: 3, why: String::new(), lines: steps[0].lines.clone(), instead: vec!["new".into()] };
    assert_eq!(rewritten(text, &[wrong]), text.replace("out\n? 7\n", "new\n"));
}

#[test]
fn patterns_stand_for_lines() {
    let id = "0123456789abcdef".repeat(4);
    for (pattern, line, is) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a[..]c[..]", "abbc", true),
        ("a[..]c", "abbcd", false),
        ("[id] x", &format!("{id} x"), true),
        ("[id]", "0123", false),
    ] {
        assert_eq!(matches(pattern, line), is, "{pattern} {line}");
    }
    assert!(same(&["a", "...", "z"], &["a", "b", "c", "z"]) && same(&["...", "z"], &["z"]));
    assert!(!same(&["a", "..."], &["b"]) && !same(&["a"], &[]) && !same(&[], &["a"]));
    assert_eq!(without_escapes("/ # \x1b[6nls\r\n\x1b[1;32mx\x1b[m"), "/ # ls\nx");
    assert_eq!(known_as(&format!("made {id}"), &["..."]), "made [id]");
    assert_eq!(known_as("12 ms", &["[..] ms"]), "[..] ms");
}
