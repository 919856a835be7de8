//! The only printer: results on stdout, everything else on stderr. Colour and progress only where it is a terminal
//! and NO_COLOR is not set; a reader that went away is success.

use crate::error::{Errno, Error, Result};
use crate::ops::{self, Progress};
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Read as _, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// A result on stdout: as it is for another program, with control characters made visible on a terminal.
pub fn print(text: &str) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        return stream(false, text);
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(printable).collect();
    stream(false, &lines.join("\n"))
}

/// A program's own words, as they are.
pub fn stream(is_error: bool, text: &str) -> Result<()> {
    written(match is_error {
        true => ops::write_all(&std::io::stderr(), text.as_bytes()),
        false => ops::write_all(&std::io::stdout(), text.as_bytes()),
    })
}

/// Help, in colour where there is any.
pub fn help(text: &impl std::fmt::Display) -> Result<()> {
    let mut stdout = anstream::stdout();
    written(write!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Help that nobody asked for, in place of a result.
pub fn help_instead(text: &impl std::fmt::Display) {
    stderr(&text.to_string());
}

#[allow(clippy::disallowed_methods)] // nothing is held here that a destructor would have to restore
fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        // `minirun ps | head -1`: who reads no further has what they wanted
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Error::host(format!("writing to the standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// A result that is one line of text from outside: an id, a name, a path.
pub fn line(text: &str) -> Result<()> {
    print(&format!("{}\n", printable(text)))
}

/// `error: …` and, where there is one, `hint: …`.
pub fn error(error: &Error) {
    let mut text = labelled(ERROR, "error", &error.message);
    if let Some(hint) = &error.hint {
        text.push_str(&labelled(HINT, "hint", hint));
    }
    stderr(&text); // at once, so that no other command's words come between
}

pub fn warning(message: &str) {
    stderr(&labelled(WARNING, "warning", message));
}

/// A line that is neither result nor trouble.
pub fn note(message: &str) {
    stderr(&format!("{}\n", printable(message)));
}

/// A terminal was left, and stands in the middle of a line.
pub fn left() {
    stderr("\nleft, and it goes on\n");
}

fn labelled(style: Style, label: &str, message: &str) -> String {
    format!("{style}{label}:{style:#} {}\n", printable(message))
}

/// Where stderr itself is gone there is nobody left to tell.
fn stderr(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// The text with control characters made visible: a name from an image must not move the cursor, set the title or
/// turn the direction of writing (CVE-2021-42574).
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers =
        |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let visible = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(visible).collect())
}

/// Whether a person sits in front of stdin.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether a person sits in front of stdout.
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The result of what was written to stdout; `None` where its reader went away, which is success.
pub fn or_gone<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Err(e) if e.is_errno(Errno::EPIPE) => Ok(None),
        done => done.map(Some),
    }
}

/// Whether the person in front of stdin says yes.
pub fn confirm(question: &str) -> Result<bool> {
    stderr(&format!("{} [y/N] ", printable(question)));
    Ok(matches!(next_line()?.trim(), "y" | "Y" | "yes"))
}

/// What the person in front of stdin answers.
pub fn question(question: &str) -> Result<String> {
    stderr(question);
    next_line()
}

/// The same unseen.
pub fn secret(question: &str) -> Result<String> {
    // asked when nothing is shown any more: an answer may be typed at once
    let line = ops::without_echo(|| {
        stderr(question);
        next_line()
    })??;
    stderr("\n"); // the one that was typed is not seen either
    Ok(line)
}

/// The first line of stdin, whoever wrote it.
pub fn answer() -> Result<String> {
    next_line()
}

/// Columns with three blanks between, cut to the terminal's width where stdout is one.
pub fn table(header: &[&str], rows: &[Vec<String>], width: Width) -> Result<()> {
    print(&layout(header, rows, if width == Width::Fits { ops::columns() } else { None }))
}

/// How wide a table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As wide as the terminal.
    Fits,
    /// As wide as what is in it.
    Whole,
}

impl Width {
    /// What `--no-trunc` says of it.
    pub fn of(no_trunc: bool) -> Width {
        if no_trunc { Width::Whole } else { Width::Fits }
    }
}

fn layout(header: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let clean = |row: &Vec<String>| row.iter().map(|cell| printable(cell).replace('\t', " ")).collect::<Vec<_>>();
    let mut lines: Vec<Vec<String>> = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows.iter().map(clean));
    let widest = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max();
    let natural: Vec<usize> = (0..header.len()).map(|column| widest(column).unwrap_or(0).max(NARROWEST)).collect();
    let widths = match columns {
        Some(columns) => fit(&natural, header, columns),
        None => natural,
    };
    lines.iter().map(|cells| table_line(cells, &widths)).collect()
}

const GAP: usize = 3;
/// With the gap it is ten, as docker has it: columns stand where they stood for whoever cuts by column.
const NARROWEST: usize = 7;

/// Takes from the widest column until all fit, but leaves each as wide as its header.
fn fit(natural: &[usize], header: &[&str], columns: usize) -> Vec<usize> {
    let mut widths = natural.to_vec();
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let shrinkable = |at: &usize| widths[*at] > header[*at].len();
        let Some(widest) = (0..widths.len()).filter(shrinkable).max_by_key(|at| widths[*at]) else { break };
        widths[widest] -= 1;
    }
    widths
}

fn table_line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| cell_text(cell, *width)).collect();
    format!("{}\n", padded.join(&" ".repeat(GAP)).trim_end())
}

fn cell_text(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return format!("{cell:width$}");
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Bytes as people read them: `64MiB`, `1.5GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0 && value.fract() >= 0.05);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Bytes in thousands, as networks and disks are measured: `1.5kB`, `200MB`.
pub fn decimal(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0 && value.fract() >= 0.05);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// `01:02:03`
pub fn hours(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The clock so long ago, `14:05`; the day, `Jan31`, where that was another one (ps(1), STIME).
pub fn clock_before(age: Duration) -> String {
    let now = jiff::Zoned::now();
    let Ok(then) = now.checked_sub(age) else { return "?".to_owned() };
    then.strftime(if then.date() == now.date() { "%H:%M" } else { "%b%d" }).to_string()
}

/// An empty screen, where there is one.
pub fn clear() -> Result<()> {
    if std::io::stdout().is_terminal() { stream(false, "\x1b[2J\x1b[H") } else { Ok(()) }
}

/// An age as docker shows it: `5 minutes ago`.
pub fn ago(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (count, unit) = match seconds {
        0..MINUTE => (seconds, "second"),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ if seconds < 14 * DAY => (seconds / DAY, "day"),
        _ if seconds < 60 * DAY => (seconds / (7 * DAY), "week"),
        _ if seconds < 730 * DAY => (seconds / (30 * DAY), "month"),
        _ => (seconds / (365 * DAY), "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Whether long work shows bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Bars,
    Nothing,
}

/// When the next step of a trace is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Untraced,
    Free,
    OnEnter,
}

/// Waits for a line on stdin; its end means that nobody will press Enter any more, and so goes on.
fn next_line() -> Result<String> {
    const LONGEST: u64 = 64 << 10; // identity tokens are some KiB
    let mut line = String::new();
    let read = std::io::stdin().lock().take(LONGEST).read_line(&mut line);
    read.map(|_| line).map_err(|e| Error::host(format!("reading the standard input: {e}")))
}

/// Progress bars on stderr, where it is a terminal; elsewhere only warnings and traces.
#[derive(Debug)]
pub struct Bars {
    pace: Pace,
    all: MultiProgress,
    /// What writes the trace.
    trace: Mutex<Option<Writer>>,
    tasks: Mutex<BTreeMap<String, ProgressBar>>,
    visible: bool,
}

impl Bars {
    pub fn new(show: Show) -> Bars {
        let visible = show == Show::Bars && std::io::stderr().is_terminal();
        Bars {
            pace: Pace::Untraced,
            all: MultiProgress::new(),
            trace: Mutex::default(),
            tasks: Mutex::default(),
            visible,
        }
    }

    /// The same, with a traced step only when Enter is pressed.
    pub fn at_pace(self, pace: Pace) -> Bars {
        Bars { pace, ..self }
    }

    fn with_task(&self, task: &str, act: impl FnOnce(&ProgressBar)) {
        if let Ok(tasks) = self.tasks.lock()
            && let Some(bar) = tasks.get(task)
        {
            act(bar);
        }
    }

    /// A line above the bars, which would be drawn over otherwise.
    fn above(&self, write: impl FnOnce()) {
        if self.visible { self.all.suspend(write) } else { write() }
    }

    /// The same when the reader has read what comes before it. Nobody waits for that.
    fn above_later(&self, write: impl FnOnce() + Send + 'static) {
        if let Ok(mut trace) = self.trace.lock() {
            trace.get_or_insert_with(|| Writer::start(self.all.clone())).write(Box::new(write));
        }
    }
}

/// A thread that writes on stderr: whoever has locks does not wait for the reader. Dropped, it has written all.
#[derive(Debug)]
struct Writer(Option<(Sender<Deed>, JoinHandle<()>)>);

type Deed = Box<dyn FnOnce() + Send>;

impl Writer {
    fn start(bars: MultiProgress) -> Writer {
        let (writes, all) = channel::<Deed>();
        Writer(Some((writes, std::thread::spawn(move || all.iter().for_each(|write| bars.suspend(write))))))
    }

    fn write(&self, write: Deed) {
        if let Some((writes, _)) = &self.0 {
            let _ = writes.send(write); // it ends after us
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((writes, thread)) = self.0.take() {
            drop(writes);
            let _ = thread.join();
        }
    }
}

impl Progress for Bars {
    fn begin(&self, task: &str, total: Option<u64>) {
        if !self.visible {
            return;
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{prefix:16} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}"),
            None => (ProgressBar::new_spinner(), "{prefix:16} {spinner} {bytes}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.all.add(bar.with_style(style).with_prefix(printable(task).into_owned()));
        if let Ok(mut tasks) = self.tasks.lock() {
            tasks.insert(task.to_owned(), bar);
        }
    }

    fn advance(&self, task: &str, bytes: u64) {
        self.with_task(task, |bar| bar.inc(bytes));
    }

    fn end(&self, task: &str) {
        self.with_task(task, ProgressBar::finish_and_clear);
    }

    fn warn(&self, message: &str) {
        let message = message.to_owned();
        match self.pace {
            Pace::Free => self.above_later(move || warning(&message)),
            Pace::Untraced | Pace::OnEnter => self.above(|| warning(&message)),
        }
    }

    fn trace(&self, text: &str, why: &str) -> Result<()> {
        let line = format!("{DIM}+{DIM:#} {}  {DIM}# {why}{DIM:#}\n", printable(text));
        match self.pace {
            Pace::OnEnter => {
                self.above(|| stderr(&line));
                next_line().map(drop)
            }
            Pace::Untraced | Pace::Free => {
                self.above_later(move || stderr(&line));
                Ok(())
            }
        }
    }

    fn trace_ends(&self) {
        drop(self.trace.lock().ok().and_then(|mut trace| trace.take()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        vec![
            vec!["0123456789ab".into(), "a long command that goes on".into(), "Up".into()],
            vec!["ba9876543210".into(), "sh\x1b[2J".into(), "Exited (0)".into()],
        ]
    }

    #[test]
    fn a_table_is_as_wide_as_it_needs_to_be() {
        assert_eq!(
            layout(&["ID", "COMMAND", "STATUS"], &rows(), None),
            "ID             COMMAND                       STATUS\n\
             0123456789ab   a long command that goes on   Up\n\
             ba9876543210   sh\\u{1b}[2J                   Exited (0)\n"
        );
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let text = layout(&["ID", "COMMAND", "STATUS"], &rows(), Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains('…'));
        // and never loops for ever where it cannot
        assert!(layout(&["ID", "COMMAND", "STATUS"], &rows(), Some(3)).starts_with("ID   COMMAND"));
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        for (text, want) in [
            ("plain ä", "plain ä"),
            ("a\x1b]0;x\x07", "a\\u{1b}]0;x\\u{7}"),
            ("a\nb", "a\\nb"),
            ("x\u{202e}y", "x\\u{202e}y"),
        ] {
            assert_eq!(printable(text), want);
        }
    }

    #[test]
    fn sizes_and_ages_are_short() {
        for (bytes, want) in [(0, "0B"), (1023, "1023B"), (1 << 20, "1MiB"), (3 << 29, "1.5GiB"), (200 << 20, "200MiB")]
        {
            assert_eq!(size(bytes), want);
        }
        for (seconds, want) in
            [(1, "1 second ago"), (119, "1 minute ago"), (7200, "2 hours ago"), (86_400 * 400, "13 months ago")]
        {
            assert_eq!(ago(seconds), want);
        }
    }
}
