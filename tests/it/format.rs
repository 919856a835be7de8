//! `--format` and `--filter`: the lines that docker's users and tools send, and what they get.

use crate::detached::{does, refused, up_alone};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use serde_json::Value;

/// Makes a container that is not started; gives its id.
#[track_caller]
fn made(sandbox: &Sandbox, flags: &[&str]) -> String {
    does(sandbox, &[&["create", "--network", "none"], flags, &["busybox", "true"]].concat()).text()
}

/// What a command says, with these words behind it.
#[track_caller]
fn said(sandbox: &Sandbox, command: &[&str], words: &[&str]) -> String {
    does(sandbox, &[command, words].concat()).stdout
}

#[test]
fn inspect_answers_what_tools_ask() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let source = sandbox.path("shared");
    std::fs::create_dir(&source).unwrap();
    let volume = format!("{}:/data:ro", source.display());
    let flags = ["--name", "web", "--network", "bridge", "-p", "18787:8787", "-v", &volume, "-e", "A=b c"];
    let labels = ["--label", "com.x=y", "--label", "empty="];
    let id = does(&sandbox, &[&["run", "-d"], &flags[..], &labels, &["busybox", "sleep", "1000"]].concat()).text();
    let web: Value = serde_json::from_str(&said(&sandbox, &["inspect"], &["web"])).unwrap();
    let (web, settings) = (&web[0], &web[0]["NetworkSettings"]);
    let address = settings["Networks"]["bridge"]["IPAddress"].as_str().unwrap();
    assert!(address.starts_with("172."), "{settings}");
    let env: Vec<&str> = web["Config"]["Env"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    for (template, want) in [
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", address),
        ("{{.NetworkSettings.IPAddress}}", address),
        ("{{(index (index .NetworkSettings.Ports \"8787/tcp\") 0).HostPort}}", "18787"),
        (
            "{{range $p, $conf := .NetworkSettings.Ports}} {{$p}} -> {{(index $conf 0).HostPort}} {{end}}",
            " 8787/tcp -> 18787 ",
        ),
        ("{{json .Mounts}}", &web["Mounts"].to_string()),
        ("{{len .Mounts}}", "1"),
        (
            "{{range .Mounts}}{{.Source}} -> {{.Destination}} {{.RW}}{{end}}",
            &format!("{} -> /data false", source.display()),
        ),
        ("{{ index .Config.Labels \"com.x\" }}", "y"),
        ("{{ index .Config.Labels \"no.such\" }}", ""),
        ("{{.State.Running}} {{.State.ExitCode}}", "true 0"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{end}}", ""),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{println .Config.Env}}", &format!("[{}]\n", env.join(" "))),
        ("{{range .Config.Env}}{{println .}}{{end}}", &format!("{}\n", env.join("\n"))),
        ("{{printf \"%.8s\" .Id}}", &id[..8]),
        ("{{.Name | printf \"%q\"}}", "\"/web\""),
        ("{{.HostConfig.Memory}} {{.HostConfig.NetworkMode}}", "0 bridge"),
    ] {
        assert_eq!(said(&sandbox, &["inspect", "-f"], &[template, "web"]), format!("{want}\n"), "{template}");
    }
    for (filter, want) in [
        ("publish=18787", "web"),
        ("publish=18000-19000/tcp", "web"),
        ("publish=8787", ""),
        ("expose=8787/tcp", "web"),
        ("expose=8787/udp", ""),
        ("network=bridge", "web"),
    ] {
        assert_eq!(does(&sandbox, &["ps", "--format", "{{.Names}}", "-f", filter]).text(), want, "{filter}");
    }
    // one line, as long as the pretty one has in all
    let line = said(&sandbox, &["inspect", "--format", "json"], &["web"]);
    assert_eq!((line.lines().count(), &serde_json::from_str::<Value>(&line).unwrap()[0]["Id"]), (1, &web["Id"]));
    // each name has its line, and one that is not there hides no other
    made(&sandbox, &["--name", "other"]);
    let some = sandbox.minirun(&["inspect", "-f", "{{.Name}}", "web", "nobody", "other"]).expect_code(1);
    assert_eq!(some.stdout, "/web\n/other\n");
    assert!(some.stderr.contains("no container nobody"), "{some}");
}

#[test]
fn a_template_that_is_wrong_is_an_error_with_a_hint() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    made(&sandbox, &["--name", "web"]);
    for (args, word) in [
        (&["inspect", "-f", "{{.State.Pidd}}", "web"][..], "map has no entry for key \"Pidd\""),
        (&["inspect", "-f", "{{.State", "web"], "no }}"),
        (&["inspect", "-f", "{{nofunction 1}}", "web"], "nofunction"),
        (&["inspect", "-f", "{{.Status}}", "busybox"], "map has no entry for key \"Status\""),
        (&["ps", "--format", "{{.Name}}"], "unknown field .Name"), // and no row to find it out by
        (&["ps", "-a", "--format", "table {{.Name}}"], "unknown field .Name"),
        (&["images", "--format", "{{.Repo}}"], "unknown field .Repo"),
        (&["info", "-f", "{{.Foo}}"], "map has no entry for key \"Foo\""),
        (&["version", "-f", "{{.Foo}}"], "map has no entry for key \"Foo\""),
    ] {
        refused(&sandbox, args, 1, word);
    }
}

#[test]
fn listings_are_templates_tables_and_json() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "hello"]);
    let id = up_alone(&sandbox, &["--name", "web", "--label", "com.x=y", "--label", "a=b"], &["sleep", "1000"]);
    let ended = made(&sandbox, &["--name", "new"]);
    for (args, want) in [
        (
            &["ps", "--format", "{{.ID}}: {{.Names}} {{.Image}} {{.Command}} {{.State}}"][..],
            format!("{}: web busybox \"sleep 1000\" running", &id[..12]),
        ),
        (&["ps", "-a", "--no-trunc", "--format", "{{.ID}}"], format!("{ended}\n{id}")),
        (&["ps", "--format", r"{{.Names}}\t{{.Networks}}\n{{.Labels}}"], "web\tnone\na=b,com.x=y".to_owned()),
        (&["ps", "--format", "{{.Label \"com.x\"}}|{{.Label \"none\"}}|{{upper .Names}}"], "y||WEB".to_owned()),
        (&["ps", "-q", "--format", "json"], id[..12].to_owned()),
        (&["images", "--format", "{{.Repository}}:{{.Tag}}"], "busybox:latest\nhello:latest".to_owned()),
        (&["container", "ls", "--format={{.Names}}"], "web".to_owned()),
        (&["container", "inspect", "--format={{.Name}}", "web"], "/web".to_owned()),
    ] {
        assert_eq!(does(&sandbox, args).text(), want, "{args:?}");
    }
    let table = said(&sandbox, &["ps", "-a", "--format"], &[r"table {{.ID}}\t{{.Names}}\t{{.Status}}"]);
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["CONTAINER ID", "NAMES", "STATUS"]);
    assert_eq!((lines.len(), lines[1][1], lines[1][2], lines[2][1]), (3, "new", "Created", "web"), "{table}");
    assert!(lines[2][2].starts_with("Up "), "{table}");

    let json = said(&sandbox, &["ps", "-a", "--format", "json"], &[]);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row["Names"].as_str().unwrap()).collect();
    assert_eq!(
        (names, &rows[1]["Labels"], &rows[1]["State"]),
        (vec!["new", "web"], &"a=b,com.x=y".into(), &"running".into())
    );
    let image: Value = serde_json::from_str(&said(&sandbox, &["images", "--format", "json"], &["busybox"])).unwrap();
    assert_eq!(image["Repository"], "busybox");

    let info: Value = serde_json::from_str(&said(&sandbox, &["info", "--format", "json"], &[])).unwrap();
    assert_eq!([&info["Containers"], &info["ContainersRunning"], &info["Images"]], [2, 1, 2]);
    let [version, server] =
        ["{{.Client.Version}}", "{{.Server.Version}}"].map(|t| said(&sandbox, &["version", "-f"], &[t]));
    assert_eq!((&version, info["ServerVersion"].as_str()), (&server, Some(version.trim_end())));
}

#[test]
fn sizes_are_what_a_container_has_written() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let write = "mkdir /a; head -c 3072 /dev/zero >/a/b; ln /a/b /c; ln -s / /d; rm /bin/sh";
    does(&sandbox, &["run", "--name", "web", "--network", "none", "busybox", "sh", "-c", write]);
    let size = said(&sandbox, &["ps", "-a", "--format"], &["{{.Size}}"]);
    assert!(size.starts_with("3.1kB (virtual ") && size.ends_with("MB)\n"), "{size}");
    let table = said(&sandbox, &["ps", "-as"], &[]);
    assert!(table.lines().next().unwrap().ends_with("SIZE") && table.contains(size.trim_end()), "{table}");
    assert!(!said(&sandbox, &["ps", "-a"], &[]).contains("SIZE"));
}

#[test]
fn filters_choose_containers() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "static"]);
    up_alone(&sandbox, &["--name", "web-1", "--label", "tier=web"], &["sleep", "1000"]);
    sandbox.minirun(&["run", "--name", "failed", "--network", "none", "busybox", "false"]).expect_code(1);
    does(&sandbox, &["run", "--name", "done", "--network", "none", "-v", "/usr:/data", "busybox", "true"]);
    let last = made(&sandbox, &["--name", "web-2", "--label", "tier=web", "--label", "x=1"]);
    for (flags, want) in [
        (&[][..], "web-1"),
        (&["-a"], "web-2 done failed web-1"),
        (&["-l"], "web-2"),
        (&["-n", "2"], "web-2 done"),
        (&["--last=3"], "web-2 done failed"),
        (&["-f", "status=exited"], "done failed"),
        (&["-f", "status=exited", "-f", "status=created"], "web-2 done failed"),
        (&["-a", "-f", "exited=1"], "failed"),
        (&["-a", "-f", "exited=0"], "done"),
        (&["-f", "name=web"], "web-1"),
        (&["-a", "-f", "name=web"], "web-2 web-1"),
        (&["-a", "-f", "name=^/web$"], ""),
        (&["-a", "-f", "name=^/web-2$"], "web-2"),
        (&["-a", "-f", "name=done", "-f", "name=failed"], "done failed"),
        (&["-a", "-f", "label=tier"], "web-2 web-1"),
        (&["-a", "-f", "label=tier=web", "-f", "label=x=1"], "web-2"),
        (&["-a", "-f", "label=tier=db"], ""),
        (&["-a", "-f", &format!("id={}", &last[..12])], "web-2"),
        (&["-a", "-f", "ancestor=busybox:latest"], "web-2 done failed web-1"),
        (&["-a", "-f", "ancestor=static"], ""),
        (&["-a", "-f", "ancestor=never-heard-of"], ""),
        (&["-a", "-f", "before=done"], "failed web-1"),
        (&["-a", "-f", "since=failed"], "web-2 done"),
        (&["-a", "-f", "network=none", "-f", "name=web-1"], "web-1"),
        (&["-a", "-f", "network=bridge"], ""),
        (&["-a", "-f", "volume=/data"], "done"),
    ] {
        let names = said(&sandbox, &[&["ps"], flags].concat(), &["--format", "{{.Names}}"]);
        assert_eq!(names.split_whitespace().collect::<Vec<_>>().join(" "), want, "{flags:?}");
    }
    let ids = said(&sandbox, &["ps"], &["-aq", "--filter", "status=exited"]);
    assert!(ids.lines().count() == 2 && ids.lines().all(|id| id.len() == 12), "{ids}");
    for (filter, code, word) in [
        ("colour=red", 2, "there are id, name"),
        ("web", 2, "KEY=VALUE"),
        ("status=happy", 2, "there are created"),
        ("exited=often", 2, "exit code"),
        ("publish=http", 2, "8080/udp"),
        ("name=web.*|db", 2, "`^` and `$`"),
        ("before=nobody", 1, "no container nobody"),
    ] {
        refused(&sandbox, &["ps", "-f", filter], code, word);
    }
}

#[test]
fn filters_and_names_choose_images() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "hello"]);
    for (flags, want) in [
        (&[][..], "busybox hello"),
        (&["busybox"], "busybox"),
        (&["busybox:latest"], "busybox"),
        (&["docker.io/library/busybox"], "busybox"),
        (&["busybox:1"], ""),
        (&["h*"], "hello"),
        (&["-f", "reference=*box"], "busybox"),
        (&["-f", "reference=*:lat*", "-f", "reference=none"], "busybox hello"),
        (&["-f", "dangling=true"], ""),
        (&["-f", "dangling=false"], "busybox hello"),
        (&["-f", "label=none"], ""),
    ] {
        let names = said(&sandbox, &["images", "--format", "{{.Repository}}"], flags);
        assert_eq!(names.split_whitespace().collect::<Vec<_>>().join(" "), want, "{flags:?}");
    }
    let with_digests = said(&sandbox, &["images", "--digests", "--no-trunc"], &["busybox"]);
    let words: Vec<&str> = with_digests.lines().nth(1).unwrap().split_whitespace().collect();
    let digest = said(&sandbox, &["image", "inspect", "-f", "{{index .RepoDigests 0}} {{.Id}}"], &["busybox"]);
    assert_eq!(digest.trim_end(), format!("busybox@{} {}", words[2], words[3]));
    assert!(with_digests.starts_with("REPOSITORY   TAG       DIGEST"), "{with_digests}");
    let config =
        "{{.Config.User}}|{{.Config.Labels}}|{{len .Config.Env}}|{{json .Config.Entrypoint}}|{{.Config.ExposedPorts}}";
    assert_eq!(
        said(&sandbox, &["inspect", "--type", "image", "-f", config], &["busybox"]),
        "|map[]|1|null|<no value>\n"
    );
    refused(&sandbox, &["images", "-f", "dangling=perhaps"], 2, "true or false");
    refused(&sandbox, &["inspect", "--type", "container", "busybox"], 1, "no container busybox");
    made(&sandbox, &["--name", "busybox"]);
    assert_eq!(said(&sandbox, &["inspect", "-f", "{{.Name}}"], &["busybox"]), "/busybox\n");
    assert_eq!(said(&sandbox, &["image", "inspect", "-f", "{{.RepoTags}}"], &["busybox"]), "[busybox:latest]\n");
}
