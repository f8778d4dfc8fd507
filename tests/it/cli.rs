//! Our command line and the stock docker client, side by side against one
//! server: the same arguments, the same output and exit codes.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use crate::harness::{
    Carrack, PASSWORD, copy_environment, output, push_busybox, run, signal, wait_for,
};

fn start() -> (Carrack, String) {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    run(&mut server.cli(&["pull", "-q", &image]));
    (server, image)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs both clients and compares what scripts see: exit code and stdout.
#[track_caller]
fn both(server: &Carrack, arguments: &[&str]) -> Output {
    let ours = output(&mut server.cli(arguments));
    let theirs = output(&mut server.docker(arguments));
    assert_eq!(
        (ours.status.code(), text(&ours.stdout)),
        (theirs.status.code(), text(&theirs.stdout)),
        "{arguments:?}\nours said: {}\ntheirs said: {}",
        text(&ours.stderr),
        text(&theirs.stderr)
    );
    ours
}

#[test]
fn run_and_its_exit_codes() {
    let (server, image) = start();
    for (arguments, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "echo out; echo err >&2; exit 42"], 42),
        (&["sh", "-c", "kill -9 $$; exit 5"], 5),
        (&["absent"], 127),
        (&["/absent"], 127),
        (&["/etc"], 126),
    ] {
        let words = [&["run", "--rm", &image][..], arguments].concat();
        assert_eq!(
            both(&server, &words).status.code(),
            Some(code),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["run", "--rm", "--network", "absent", &image, "true"][..],
        &["run", "--rm", "--no-such-flag", &image],
        &["run", "--rm", "-p", "x:y", &image],
        &["run", "--pull", "never", "--rm", "127.0.0.1:1/absent"],
    ] {
        assert_eq!(
            both(&server, arguments).status.code(),
            Some(125),
            "{arguments:?}"
        );
    }
    // What failed to start is gone as well.
    assert_eq!(text(&both(&server, &["ps", "-aq"]).stdout), "");
    assert_eq!(both(&server, &["no-such-command"]).status.code(), Some(1));
}

#[test]
fn a_missing_image_is_pulled_and_its_absence_explained() {
    let (server, image) = start();
    run(&mut server.cli(&["rmi", &image]));
    let done = output(&mut server.cli(&["run", "--rm", &image, "echo", "hi"]));
    assert_eq!(text(&done.stdout), "hi\n");
    let said = text(&done.stderr);
    assert!(
        said.starts_with(&format!("Unable to find image '{image}' locally\n")),
        "{said}"
    );
    assert!(
        !said.contains('\x1b'),
        "no cursor movement into a pipe: {said}"
    );

    let absent = server.image("team/absent:1");
    let done = output(&mut server.cli(&["run", "--rm", &absent]));
    assert_eq!(done.status.code(), Some(125));
    assert!(text(&done.stderr).contains("carrack: Error response from daemon: "));
    assert!(text(&done.stderr).contains("Run 'carrack run --help'"));
}

#[test]
fn listings_are_the_same_to_the_byte() {
    let (server, image) = start();
    let id = run(&mut server.cli(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "tier=front",
        "-e",
        "A=1",
        "--expose",
        "90",
        "-p",
        "127.0.0.1::80",
        "-v",
        "vol:/data",
        &image,
        "sh",
        "-c",
        "echo ready; exec sleep 1000",
    ]));
    assert_eq!(id.len(), 64);
    wait_for("the first line", || {
        let logs = output(&mut server.cli(&["logs", "web"]));
        (logs.stdout == b"ready\n").then_some(())
    });
    let exited = output(&mut server.cli(&["run", "--name", "done", &image, "sh", "-c", "exit 3"]));
    assert_eq!(exited.status.code(), Some(3));
    // Columns with times that pass are left out: the two calls are not one.
    let table = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.Ports}}\\t{{.Names}}\\t{{.State}}";
    for arguments in [
        &["ps", "--format", table][..],
        &["ps", "-a", "--format", table],
        &["ps", "-aq"],
        &["ps", "-aq", "--no-trunc"],
        &["ps", "-q", "-f", "name=web"],
        &["ps", "-aq", "-f", "status=exited"],
        &["ps", "-aq", "-f", "label=tier"],
        &["ps", "-a", "-n", "1", "--format", "{{.Names}}"],
        &[
            "ps",
            "-l",
            "--format",
            "{{.Names}} {{.Label \"tier\"}}{{.Labels}}",
        ],
        &[
            "ps",
            "--format",
            "{{.Mounts}} {{.Networks}} {{.LocalVolumes}}",
        ],
        &["container", "ls", "-aq"],
        &[
            "images",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}",
        ],
        &["images", "-q", "--no-trunc"],
        &["images", "--digests", "--format", "{{.Digest}}"],
        &["images", "absent"],
        &["inspect", "web"],
        &["inspect", "done", "web"],
        &["inspect", &image],
        &["inspect", "absent"],
        &["inspect", "--type", "image", "web"],
        &[
            "inspect",
            "-f",
            "{{.Name}} {{.State.Status}} {{len .Config.Env}}",
            "web",
            "done",
        ],
        &["inspect", "-f", "{{json .Config.Labels}}", "web"],
        &["inspect", "-f", "{{.ID}} {{.HostConfig.NanoCPUs}}", "web"],
        &[
            "inspect",
            "-f",
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
            "web",
        ],
        &[
            "inspect",
            "-f",
            "{{if .State.Running}}up{{else}}down{{end}}",
            "done",
        ],
        &["port", "web"],
        &["port", "web", "80"],
        &["port", "web", "81"],
        &["logs", "web"],
        &["logs", "-n", "1", "-t", "web"],
        &["volume", "ls"],
        &["volume", "inspect", "vol"],
        &["network", "ls"],
        &["wait", "done"],
    ] {
        both(&server, arguments);
    }
    run(&mut server.cli(&["rm", "-f", "web", "done"]));
    run(&mut server.cli(&["volume", "rm", "vol"]));
}

#[test]
fn exec_mirrors_the_process() {
    let (server, image) = start();
    run(&mut server.cli(&["run", "-d", "--name", "box", &image, "sleep", "1000"]));
    for (arguments, code) in [
        (&["exec", "box", "echo", "hi"][..], 0),
        (&["exec", "box", "sh", "-c", "echo e >&2; exit 9"], 9),
        (
            &[
                "exec",
                "-e",
                "A=b c",
                "-w",
                "/tmp",
                "box",
                "sh",
                "-c",
                "echo $A; pwd",
            ],
            0,
        ),
        (&["exec", "-u", "1:2", "box", "id"], 0),
        (&["exec", "box", "absent"], 127),
        (&["exec", "absent", "true"], 1),
    ] {
        assert_eq!(
            both(&server, arguments).status.code(),
            Some(code),
            "{arguments:?}"
        );
    }
    // Half-closed input: the process sees its end and may still answer.
    let mut child = server
        .cli(&["exec", "-i", "box", "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = vec![b'x'; 300_000];
    child.stdin.take().unwrap().write_all(&sent).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(text(&done.stdout).trim(), "300000");
    run(&mut server.cli(&["rm", "-f", "box"]));
}

#[test]
fn a_terminal_has_our_size_and_keys_leave_it() {
    let (server, image) = start();
    // script(1) gives the client a terminal.
    let in_terminal = |words: &str| {
        let mut script = Command::new("script");
        let client = server.cli(&[]);
        copy_environment(&client, &mut script);
        let program = client.get_program().to_str().unwrap().to_owned();
        script.args([
            "-qec",
            &format!("stty rows 33 cols 77; {program} {words}"),
            "/dev/null",
        ]);
        script
    };
    let ended = output(&mut in_terminal(&format!(
        "run --rm -it {image} sh -c 'stty size; test -t 1; exit 4'"
    )));
    assert!(
        text(&ended.stdout).contains("33 77"),
        "{}",
        text(&ended.stdout)
    );
    assert_eq!(ended.status.code(), Some(4));

    let mut child = in_terminal(&format!("run -it --name held {image} cat"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the container", || {
        let state = output(&mut server.cli(&["inspect", "-f", "{{.State.Running}}", "held"]));
        (text(&state.stdout) == "true\n").then_some(())
    });
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(&[16, 17]).unwrap();
    let status = wait_for("the client's end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    drop(keys);
    assert_eq!(
        run(&mut server.cli(&["inspect", "-f", "{{.State.Status}}", "held"])),
        "running"
    );
    let without = output(&mut server.cli(&["exec", "-it", "held", "true"]));
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).starts_with("the input device is not a TTY"));
    run(&mut server.cli(&["rm", "-f", "held"]));
}

#[test]
fn signals_reach_the_process() {
    let (server, image) = start();
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = server
        .cli(&["run", "--rm", "--name", "trap", &image, "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut line = [0; 6];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    signal(child.id(), "TERM");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(run(&mut server.cli(&["ps", "-aq"])), "");
}

#[test]
fn a_container_lives_through_its_commands() {
    let (server, image) = start();
    let id_file = server.site.dir.join("id");
    let id_file = id_file.to_str().unwrap();
    let id = run(&mut server.cli(&[
        "create",
        "--cidfile",
        id_file,
        "--name",
        "one",
        &image,
        "cat",
    ]));
    assert_eq!(fs::read_to_string(id_file).unwrap(), id);
    let again = output(&mut server.cli(&["create", "--cidfile", id_file, &image]));
    assert!(text(&again.stderr).contains("container ID file found"));
    let twice = output(&mut server.cli(&["create", "--name", "one", &image]));
    assert!(text(&twice.stderr).contains("is already in use by container"));

    run(&mut server.cli(&["rename", "one", "two"]));
    run(&mut server.cli(&["create", "--name", "sleeper", &image, "sleep", "1000"]));
    assert_eq!(run(&mut server.cli(&["start", "sleeper"])), "sleeper");
    assert_eq!(
        run(&mut server.cli(&["kill", "-s", "KILL", "sleeper"])),
        "sleeper"
    );
    assert_eq!(run(&mut server.cli(&["wait", "sleeper"])), "137");
    assert_eq!(
        run(&mut server.cli(&["restart", "-t", "0", "sleeper"])),
        "sleeper"
    );
    assert_eq!(
        run(&mut server.cli(&["stop", "-t", "0", "sleeper"])),
        "sleeper"
    );
    let partly = output(&mut server.cli(&["rm", "absent", "two", "sleeper"]));
    assert_eq!(text(&partly.stdout), "two\nsleeper\n");
    assert_eq!(partly.status.code(), Some(1));
    assert!(text(&partly.stderr).contains("No such container: absent"));
}

#[test]
fn logins_are_verified_and_shared_with_docker() {
    let server = Carrack::start();
    let config = server.site.dir.join("login");
    let login = |password: &str| {
        let mut child = server
            .cli(&["login", "-u", "admin", "--password-stdin"])
            .env("DOCKER_CONFIG", &config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    };
    let refused = login("wrong");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("unauthorized"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!config.exists(), "a refused login leaves nothing");
    let accepted = login(&format!("{PASSWORD}\n"));
    assert_eq!(text(&accepted.stdout), "Login Succeeded\n");

    let image = push_busybox(&server, "team/busybox:1");
    run(server
        .docker(&["pull", "-q", &image])
        .env("DOCKER_CONFIG", &config));
    let copy = server.image("team/copy:1");
    run(&mut server.cli(&["tag", &image, &copy]));
    run(server
        .cli(&["push", "-q", &copy])
        .env("DOCKER_CONFIG", &config));
    run(server.cli(&["logout"]).env("DOCKER_CONFIG", &config));
    let denied = output(server.cli(&["push", &copy]).env("DOCKER_CONFIG", &config));
    assert_eq!(denied.status.code(), Some(1));
    run(&mut server.cli(&["rmi", &image, &copy]));
}

#[test]
fn a_credential_helper_keeps_the_password() {
    let server = Carrack::start();
    let bin = server.site.dir.join("bin");
    let config = server.site.dir.join("helped");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&config).unwrap();
    // A real helper of the protocol: one file is its key chain.
    let helper = bin.join("docker-credential-file");
    let chain = server.site.dir.join("chain");
    let script = format!(
        "#!/bin/sh\nchain={}\ncase $1 in\n\
         store) cat >$chain ;;\n\
         get) cat >/dev/null; cat $chain 2>/dev/null || \
         {{ echo credentials not found in native keychain; exit 1; }} ;;\n\
         erase) cat >/dev/null; rm -f $chain ;;\nesac\n",
        chain.display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(config.join("config.json"), r#"{"credsStore":"file"}"#).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let client = |arguments: &[&str]| {
        let mut command = server.cli(arguments);
        command.env("DOCKER_CONFIG", &config).env("PATH", &path);
        command
    };

    run(&mut client(&["login", "-u", "admin", "-p", PASSWORD]));
    let kept = fs::read_to_string(config.join("config.json")).unwrap();
    assert!(!kept.contains("\"auth\""), "{kept}");
    assert!(kept.contains(server.address()), "{kept}");
    assert!(fs::read_to_string(&chain).unwrap().contains(PASSWORD));

    let image = push_busybox(&server, "team/busybox:1");
    run(&mut client(&["pull", "-q", &image]));
    let copy = server.image("team/copy:1");
    run(&mut client(&["tag", &image, &copy]));
    run(&mut client(&["push", "-q", &copy]));
    run(&mut client(&["logout"]));
    assert!(!chain.exists());
    assert_eq!(output(&mut client(&["push", &copy])).status.code(), Some(1));
    run(&mut client(&["rmi", &image, &copy]));
}

#[test]
fn files_travel_both_ways() {
    let (server, image) = start();
    run(&mut server.cli(&["run", "-d", "--name", "box", &image, "sleep", "1000"]));
    let here = server.site.dir.join("files");
    fs::create_dir_all(here.join("tree/sub")).unwrap();
    fs::write(here.join("tree/sub/file"), b"x".repeat(300_000)).unwrap();
    std::os::unix::fs::symlink("sub/file", here.join("tree/link")).unwrap();
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();

    run(&mut server.cli(&["cp", &path("tree"), "box:/tmp"]));
    run(&mut server.cli(&["cp", &path("tree/."), "box:/tmp/contents"]));
    let listed = run(&mut server.cli(&[
        "exec",
        "box",
        "sh",
        "-c",
        "cd /tmp; find tree contents | sort; wc -c <contents/link",
    ]));
    assert_eq!(
        listed,
        "contents\ncontents/link\ncontents/sub\ncontents/sub/file\n\
         tree\ntree/link\ntree/sub\ntree/sub/file\n300000"
    );

    run(&mut server.cli(&["cp", "box:/tmp/tree", &path("ours")]));
    run(&mut server.docker(&["cp", "-q", "box:/tmp/tree", &path("theirs")]));
    run(Command::new("diff").args(["-r", "--no-dereference", &path("ours"), &path("theirs")]));
    let link = fs::read_link(here.join("ours/link")).unwrap();
    assert_eq!(link.to_str(), Some("sub/file"));

    let sent = output(&mut server.cli(&["cp", "box:/tmp/tree/sub", "-"]));
    assert!(sent.stdout.starts_with(b"sub/"));
    for (arguments, part) in [
        (
            ["cp", "box:/absent", "x"],
            "Could not find the file /absent",
        ),
        (["cp", "absent:/x", "x"], "No such container: absent"),
        (
            ["cp", "box:/tmp/tree", &path("tree/sub/file")],
            "cannot copy directory",
        ),
        (
            ["cp", "a", "b"],
            "must specify at least one container source",
        ),
    ] {
        let failed = output(&mut server.cli(&arguments));
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&failed.stderr).contains(part),
            "{}",
            text(&failed.stderr)
        );
    }
    run(&mut server.cli(&["rm", "-f", "box"]));
}

#[test]
fn what_happens_and_what_is_used() {
    let (server, image) = start();
    run(&mut server.cli(&[
        "run", "-d", "--name", "box", "-m", "64m", &image, "sleep", "1000",
    ]));
    let stats = run(&mut server.cli(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.MemUsage}} {{.PIDs}}",
    ]));
    assert!(
        stats.starts_with("box ") && stats.ends_with("/ 64MiB 1"),
        "{stats}"
    );
    let top = both(&server, &["top", "box"]);
    assert!(text(&top.stdout).contains("sleep 1000"));
    run(&mut server.cli(&["rm", "-f", "box"]));
    let events = run(&mut server.cli(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "-f",
        "type=container",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ]));
    for event in ["create box", "start box", "die box", "destroy box"] {
        assert!(
            events.lines().any(|line| line == event),
            "{event} in {events}"
        );
    }
    both(
        &server,
        &["history", "--format", "{{.CreatedBy}} {{.Size}}", &image],
    );
    both(
        &server,
        &["version", "-f", "{{.Server.APIVersion}} {{.Server.Os}}"],
    );
    both(
        &server,
        &["info", "-f", "{{.Name}} {{.Images}} {{.OSType}}"],
    );
    both(
        &server,
        &[
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}}",
        ],
    );
}

#[test]
fn an_engine_that_is_not_there_is_explained() {
    let mut command = Command::new(crate::harness::carrack());
    let done = output(command.args(["-H", "unix:///nonexistent.sock", "ps"]));
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).contains("carrack serve"),
        "{}",
        text(&done.stderr)
    );
}
