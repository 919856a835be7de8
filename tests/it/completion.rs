//! What shells make of an unfinished line: real ones, the way people have them.

use crate::detached::{does, up, up_alone};
use crate::support::command::output;
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::terminal::Terminal;
use std::process::Command;

/// A container that runs and one that has ended, an image, a volume, and minirun on the PATH.
fn stocked() -> Sandbox {
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web-up"], &["sleep", "1000"]);
    up(&sandbox, &["--name", "old-ended", "--network", "none"], &["true"]);
    does(&sandbox, &["wait", "old-ended"]);
    does(&sandbox, &["volume", "create", "data-one"]);
    does(&sandbox, &["tag", "busybox", "tools:1.5"]);
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    std::os::unix::fs::symlink(minirun_binary(), sandbox.path("bin/minirun")).unwrap();
    std::fs::write(sandbox.path("a-file"), "").unwrap();
    sandbox
}

/// A program in the sandbox, in its directory, that finds minirun.
fn shell(sandbox: &Sandbox, words: &[&str]) -> Command {
    let mut command = sandbox.command("env");
    let path = format!("PATH={}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    command.args([&format!("--chdir={}", sandbox.path(".").display()), &path, "HOME=/nonexistent"]).args(words);
    command
}

/// What is asked of minirun, and the words of its answer.
fn offered(sandbox: &Sandbox, line: &str) -> (String, Vec<String>) {
    let words: Vec<&str> = ["__complete"].into_iter().chain(line.split(' ')).collect();
    let text = sandbox.minirun(&words).text();
    let mut lines = text.lines().map(|line| line.split('\t').next().unwrap().to_owned());
    (lines.next().unwrap(), lines.collect())
}

#[test]
fn names_are_offered_to_the_commands_that_take_them() {
    requires![root];
    let sandbox = stocked();
    for (line, then, want) in [
        ("stop ", "blank", &["web-up"][..]),
        ("exec -it ", "blank", &["web-up"]),
        ("pause ", "blank", &["web-up"]),
        ("unpause ", "blank", &[]),
        ("rm ", "blank", &["old-ended", "web-up"]),
        ("rm web-up ", "blank", &["old-ended"]),
        ("start o", "blank", &["old-ended"]),
        ("container logs w", "blank", &["web-up"]),
        ("run ", "blank", &["busybox:latest", "tools:1.5"]),
        ("run --rm -p 80:80 tools:", "blank", &["tools:1.5"]),
        ("run busybox ", "blank", &[]),
        ("rmi t", "blank", &["tools:1.5"]),
        ("inspect ", "blank", &["old-ended", "web-up", "busybox:latest", "tools:1.5", "data-one"]),
        ("inspect --type volume ", "blank", &["data-one"]),
        ("system prune --filter ", "more", &["until=", "label=", "label!="]),
        ("image inspect ", "blank", &["busybox:latest", "tools:1.5"]),
        ("container inspect ", "blank", &["old-ended", "web-up"]),
        ("run --network con", "blank", &["container:web-up"]),
        ("run --volumes-from ", "blank", &["old-ended", "web-up"]),
        ("run -v ", "more", &["data-one:"]),
        ("run -v ./", "files", &[]),
        ("volume rm ", "blank", &["data-one"]),
        ("cp w", "more", &["web-up:"]),
        ("cp ./a", "files", &[]),
        ("load -i ", "files", &[]),
        ("run --rootfs ", "directories", &[]),
    ] {
        let (said, words) = offered(&sandbox, line);
        assert_eq!(
            (said.as_str(), words.iter().map(String::as_str).collect::<Vec<_>>()),
            (then, want.to_vec()),
            "{line}"
        );
    }
    let id = does(&sandbox, &["ps", "-q"]).text();
    assert_eq!(offered(&sandbox, &format!("stop {}", &id[..6])).1, [id]);
    does(&sandbox, &["pause", "web-up"]);
    assert_eq!(offered(&sandbox, "pause ").1, [""; 0]);
    assert_eq!(offered(&sandbox, "unpause ").1, ["web-up"]);
    does(&sandbox, &["unpause", "web-up"]);
}

#[test]
fn who_may_not_see_the_names_is_offered_none_and_hears_nothing() {
    requires![root, tool("setpriv")];
    let sandbox = stocked();
    let binary = minirun_binary();
    let as_nobody = |words: &[&str]| {
        // the directories of the test are root's, and so may be that of the binary
        let run =
            "exec 3<\"$1\"; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/3 \"$@\"";
        output(sandbox.command("bash").args(["-c", run, "-"]).arg(&binary).args(words))
    };
    for line in [&["__complete", "stop", ""][..], &["__complete", "run", ""], &["__complete", "volume", "rm", ""]] {
        let said = as_nobody(line).expect_code(0);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("blank\n", ""), "{line:?}");
    }
    assert_eq!(as_nobody(&["__complete", "sto"]).text().lines().nth(1).unwrap().split('\t').next(), Some("stop"));
    // nothing is made where there is nothing
    let none = sandbox.path("none");
    let said = sandbox.minirun(&["__complete", "--root", none.to_str().unwrap(), "run", ""]).expect_code(0);
    assert_eq!((said.stdout.as_str(), none.exists()), ("blank\n", false));
}

/// Types lines with a tab at the end; each must become what follows.
#[track_caller]
fn completes(terminal: &mut Terminal, lines: &[(&str, &str)]) {
    for (line, want) in lines {
        terminal.write(&format!("{line}\t"));
        terminal.expect(want);
        terminal.write("\x15"); // Ctrl-U: another line
    }
}

#[test]
fn bash_completes_lines() {
    requires![root];
    let sandbox = stocked();
    let mut terminal = Terminal::start(&shell(&sandbox, &["bash", "--norc", "--noprofile", "-i"]));
    terminal.write("bind 'set enable-bracketed-paste off'; source <(minirun completion bash); PS1='ok''> '\n");
    terminal.expect("ok> ");
    completes(
        &mut terminal,
        &[
            ("minirun compl", "minirun completion "),
            ("minirun stop w", "stop web-up "),
            ("minirun rm -f o", "rm -f old-ended "),
            ("minirun run --restart=al", "--restart=always "),
            ("minirun run --net con", "--net container:web-up "),
            ("minirun run --net=con", "--net=container:web-up "),
            ("minirun run --rm tools:", "tools:1.5 "),
            ("minirun run -v da", "-v data-one:"),
            ("minirun load -i a-f", "-i a-file "),
            ("minirun container log", "container logs "),
            ("x=1 minirun image rm bu", "rm busybox:latest "),
        ],
    );
    // the word goes on where it is not complete
    terminal.write("minirun run -v da\t/in");
    terminal.expect("-v data-one:/in");
    terminal.write("\x15");
    // where there is more than one, the second tab lists them
    terminal.write("minirun logs \t\t");
    terminal.expect("old-ended  web-up");
}

#[test]
fn zsh_completes_lines() {
    requires![root, tool("zsh")];
    let sandbox = stocked();
    sandbox.sh(&format!("cd {}; mkdir f; bin/minirun completion zsh >f/_minirun", sandbox.path(".").display())).text();
    let mut terminal = Terminal::start(&shell(&sandbox, &["zsh", "-f", "-i"]));
    terminal.write("fpath=($PWD/f $fpath); autoload -U compinit; compinit -D -u; PS1='ok''> '\n");
    terminal.expect("ok> ");
    completes(
        &mut terminal,
        &[
            ("minirun compl", "completion"),
            ("minirun stop w", "web-up"),
            ("minirun rm -f o", "old-ended"),
            ("minirun run --restart=al", "always"),
            ("minirun run --net=con", "container:web-up"),
            ("minirun run --rm tools:", "1.5"),
            ("minirun run -v da", "data-one:"),
            ("minirun load -i a-f", "a-file"),
        ],
    );
    terminal.write("minirun run -v da\t/in"); // the word goes on where it is not complete
    terminal.expect("data-one:/in");
}

#[test]
fn fish_completes_lines() {
    requires![root, tool("fish")];
    let sandbox = stocked();
    let home = format!("HOME={}", sandbox.path(".").display());
    for (line, want) in [
        ("minirun stop ", "web-up\tbusybox, Up"),
        ("minirun rm -f o", "old-ended\tbusybox, Exited (0)"),
        ("minirun run --restart=al", "--restart=always"),
        ("minirun run --net=con", "--net=container:web-up\tbusybox, Up"),
        ("minirun run tools:", "tools:1.5"),
        ("minirun load -i a-f", "a-file"),
        ("minirun vol", "volume\tMake, list and remove volumes"),
    ] {
        let script = format!("minirun completion fish | source; complete -C '{line}'");
        let said = output(&mut shell(&sandbox, &["env", &home, "fish", "--no-config", "-c", &script])).text();
        assert_eq!(said, want, "{line}");
    }
}
