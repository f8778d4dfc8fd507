//! Building over HTTP, from a context tarball to a container that runs.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{Carrack, push_busybox, run, wait_for};

/// A tar of files given as (path, content).
pub fn context(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    tar(dir.path())
}

fn tar(dir: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["-cf", "-", "."])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Starts a build; returns its id.
pub fn submit(server: &Carrack, query: &str, context: Vec<u8>) -> String {
    let answer = server
        .api()
        .post(
            &format!("/api/v1/builds?{query}"),
            "application/x-tar",
            context,
        )
        .expect(202);
    let build = answer.json();
    let id = build["id"].as_str().unwrap().to_owned();
    assert_eq!(
        answer.header("location"),
        Some(format!("/api/v1/builds/{id}").as_str())
    );
    id
}

fn show(server: &Carrack, id: &str) -> Value {
    server
        .api()
        .get(&format!("/api/v1/builds/{id}"))
        .unwrap()
        .expect(200)
        .json()
}

pub fn finish(server: &Carrack, id: &str) -> Value {
    wait_for("the build's end", || {
        let build = show(server, id);
        let ended = matches!(
            build["state"].as_str(),
            Some("succeeded" | "failed" | "cancelled")
        );
        ended.then_some(build)
    })
}

fn log(server: &Carrack, id: &str) -> String {
    server
        .api()
        .get(&format!("/api/v1/builds/{id}/log"))
        .unwrap()
        .expect(200)
        .text()
}

fn build(server: &Carrack, query: &str, files: &[(&str, &str)]) -> (Value, String) {
    let id = submit(server, query, context(files));
    let build = finish(server, &id);
    (build, log(server, &id))
}

#[test]
fn every_instruction() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!(
        r#"ARG BASE=unset
FROM ${{BASE}} AS first
ARG WORD=default
RUN echo "$WORD" > /word && mkdir /made
COPY --chown=web:extra data/ /made/
FROM {base}
LABEL purpose="test" maintainer="nobody"
ENV COLOUR=blue \
    SHAPE=round
WORKDIR /work/place
COPY --from=first /word ./word
COPY --from=first /made /made
COPY one.txt two.txt /files/
RUN ["/bin/sh", "-c", "pwd > /where"]
VOLUME /volume
EXPOSE 80 53/udp
USER web
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat /work/place/word /where /files/one.txt; echo $COLOUR $SHAPE; id -un; stat -c %u:%g /made/inner"]
"#
    );
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        (".dockerignore", "data/secret\n"),
        ("data/inner", "inner"),
        ("data/secret", "secret"),
        ("one.txt", "one\n"),
        ("two.txt", "two\n"),
    ];
    let image = server.image("team/app:1");
    let query = format!("tag={image}&build-arg=BASE={base}&build-arg=WORD=given");
    let (built, log) = build(&server, &query, &files);
    assert_eq!(built["state"], "succeeded", "{built}\n{log}");

    let text = run(&mut server.docker(&["run", "--rm", "-q", &image]));
    assert_eq!(text, "given\n/work/place\none\nblue round\nweb\n1000:2000");
    let seen = run(&mut server.docker(&["run", "--rm", &image, "ls /made"]));
    assert_eq!(seen, "inner");
    let shown = run(&mut server.docker(&["image", "inspect", &image]));
    let config = &serde_json::from_str::<Value>(&shown).unwrap()[0]["Config"];
    assert_eq!(config["Labels"]["purpose"], "test");
    assert_eq!(config["WorkingDir"], "/work/place");
    assert!(
        config["ExposedPorts"]["53/udp"].is_object() && config["Volumes"]["/volume"].is_object()
    );

    // Again: every step comes from the cache, also after a restart.
    let mut server = server;
    let again = |server: &Carrack| {
        let (built, log) = build(server, &query, &files);
        assert_eq!(built["state"], "succeeded");
        let steps = log
            .lines()
            .filter(|line| line.contains("] RUN ") || line.contains("] COPY "))
            .count();
        let cached = log.matches("CACHED").count();
        assert!(cached >= 6 && steps >= 6, "{log}");
        built["digest"].clone()
    };
    let first = again(&server);
    assert!(server.stop());
    server.restart();
    assert_eq!(again(&server), first);
}

/// What a child image takes from its base, through the registry.
#[test]
fn images_hand_on_what_docker_hands_on() {
    let server = Carrack::start();
    let busybox = push_busybox(&server, "base/busybox:1");
    let base = server.image("team/base:1");
    let dockerfile = format!(
        r#"FROM {busybox}
ARG HIDDEN=argument
ENV KEPT=environment HIDDEN_TOO=$HIDDEN
WORKDIR /srv
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo base"]
ONBUILD COPY app /srv/app
ONBUILD RUN cat app > /triggered
"#
    );
    let query = format!("tag={base}");
    let (built, log) = build(&server, &query, &[("Dockerfile", &dockerfile)]);
    assert_eq!(built["state"], "succeeded", "{built}\n{log}");

    let child = |number: u32, lines: &str, arguments: &[&str]| {
        let image = server.image(&format!("team/child:{number}"));
        let dockerfile = format!("FROM {base}\n{lines}");
        let files = [("Dockerfile", dockerfile.as_str()), ("app", "the app")];
        let (built, log) = build(&server, &format!("tag={image}"), &files);
        assert_eq!(built["state"], "succeeded", "{built}\n{log}");
        let command = [&["run", "--rm", "-q", &image], arguments].concat();
        run(&mut server.docker(&command))
    };
    assert_eq!(child(1, "", &[]), "base");
    let triggered = child(2, "CMD [\"pwd; cat /triggered\"]\n", &[]);
    assert_eq!(triggered, "/srv\nthe app");
    // A new entrypoint forgets the command of the base, but not that of its stage.
    assert_eq!(child(3, "ENTRYPOINT [\"echo\", \"new\"]\n", &[]), "new");
    let own = "CMD [\"cmd\"]\nENTRYPOINT [\"echo\"]\n";
    assert_eq!(child(4, own, &[]), "cmd");
    let shown = child(
        5,
        "ENTRYPOINT []\nUSER web\nWORKDIR mine\nRUN touch made\n",
        &[
            "sh",
            "-c",
            "id -un; stat -c %U $PWD $PWD/made; echo $KEPT $HIDDEN_TOO [$HIDDEN]",
        ],
    );
    assert_eq!(shown, "web\nweb\nweb\nenvironment argument []");
}

#[test]
fn contexts_heredocs_and_arguments_reach_the_steps() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!(
        r#"# syntax=docker/dockerfile:1
# escape=`
ARG FROM_OUTSIDE=default
FROM {base} AS tools
ARG FROM_OUTSIDE
ARG SUFFIX=.${{FROM_OUTSIDE:+set}}
COPY <<-script /bin/tool
	#!/bin/sh
	echo "tool $FROM_OUTSIDE \$1"
	script
RUN chmod 755 /bin/tool; `
    # the shell sees neither this line

    echo "built$SUFFIX" > /note
FROM {base}
COPY --from=tools --chown=web /bin/tool /note /tools/
COPY . /context/
COPY src/*.c src/deep/[ab].h headers/
RUN <<EOF
    cd /context && find . -type f | sort > /files
    ls /headers > /headers.list
EOF
RUN ["/bin/sh", "-c", "echo $0 $1 > /exec", "$FROM_OUTSIDE", "literal"]
CMD cat /files /headers.list /exec /tools/note; /tools/tool x; stat -c %U /tools/tool
"#
    );
    let ignore = "**/*.md\n!docs/**/KEEP.md\nsrc/deep\n!src/deep/*.h\nDockerfile\n# no.c\n";
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        (".dockerignore", ignore),
        ("README.md", ""),
        ("docs/a/KEEP.md", ""),
        ("docs/a/drop.md", ""),
        ("src/main.c", ""),
        ("src/no.c", ""),
        ("src/deep/a.h", ""),
        ("src/deep/c.h", ""),
        ("src/deep/x.c", ""),
    ];
    let image = server.image("team/app:1");
    let query = format!("tag={image}&build-arg=FROM_OUTSIDE=given");
    let (built, log) = build(&server, &query, &files);
    assert_eq!(built["state"], "succeeded", "{built}\n{log}");
    let text = run(&mut server.docker(&["run", "--rm", "-q", &image]));
    let expected = [
        "./.dockerignore",
        "./docs/a/KEEP.md",
        "./src/deep/a.h",
        "./src/deep/c.h",
        "./src/main.c",
        "./src/no.c",
        "a.h",
        "main.c",
        "no.c",
        "$FROM_OUTSIDE literal",
        "built.set",
        "tool given x",
        "web",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{log}");
}

#[test]
fn a_changed_file_rebuilds_only_what_follows() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile =
        format!("FROM {base}\nRUN echo slow > /slow\nCOPY file /file\nRUN cat /file > /copy\n");
    let (_, log) = build(&server, "", &[("Dockerfile", &dockerfile), ("file", "1")]);
    assert_eq!(log.matches("CACHED").count(), 0, "{log}");
    let (_, log) = build(&server, "", &[("Dockerfile", &dockerfile), ("file", "2")]);
    assert_eq!(log.matches("CACHED").count(), 1, "{log}");
    let (_, log) = build(
        &server,
        "no-cache=1",
        &[("Dockerfile", &dockerfile), ("file", "2")],
    );
    assert_eq!(log.matches("CACHED").count(), 0, "{log}");
}

#[test]
fn errors_name_file_line_and_instruction() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let check = |dockerfile: &str, line: u64, instruction: &str, part: &str| {
        let (built, log) = build(&server, "", &[("Dockerfile", dockerfile)]);
        assert_eq!(built["state"], "failed", "{log}");
        let error = &built["error"];
        assert_eq!(error["file"], "Dockerfile", "{error}");
        assert_eq!(error["line"], line, "{error}");
        assert_eq!(error["instruction"], instruction, "{error}");
        let source = dockerfile.lines().nth(line as usize - 1).unwrap();
        assert!(
            error["excerpt"].as_str().unwrap().contains(source),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    };
    check(
        &format!("FROM {base}\nRUM echo\n"),
        2,
        "RUM",
        "unknown instruction",
    );
    check(
        &format!("FROM {base}\n\nRUN false\n"),
        3,
        "RUN",
        "exit code: 1",
    );
    check(
        &format!("FROM {base}\nCOPY absent /x\n"),
        2,
        "COPY",
        "not found",
    );
    check(
        &format!("FROM {base}\nCOPY --form=x a /x\n"),
        2,
        "COPY",
        "unknown flag",
    );
    let absent = server.image("absent/image:1");
    check(&format!("FROM {absent}\n"), 1, "FROM", "absent/image");
}

#[test]
fn a_build_is_cancelled_once() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!("FROM {base}\nRUN sleep 1000\n");
    let id = submit(&server, "", context(&[("Dockerfile", &dockerfile)]));
    wait_for("the step", || {
        (!server.contained().is_empty()).then_some(())
    });
    let cancel = || {
        let path = format!("/api/v1/builds/{id}/cancel");
        server.api().post(&path, "", Vec::new())
    };
    assert!(cancel().status < 300);
    assert_eq!(finish(&server, &id)["state"], "cancelled");
    assert!(cancel().status < 300, "cancel is idempotent");
}

#[test]
fn bad_requests() {
    let server = Carrack::start();
    let post = |query: &str, body: &[u8]| {
        server.api().post(
            &format!("/api/v1/builds?{query}"),
            "application/x-tar",
            body.to_vec(),
        )
    };
    for (query, body) in [
        ("", b"not a tar".as_slice()),
        ("tag=UPPER", b""),
        ("platform=x", b""),
        ("network=moon", b""),
    ] {
        let answer = post(query, body);
        // A context that is no tar may also fail the build that reads it.
        if answer.status == 202 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(finish(&server, &id)["state"], "failed");
            continue;
        }
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(
            answer.json()["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    server
        .api()
        .get("/api/v1/builds/absent")
        .unwrap()
        .expect(404);
    let anonymous = server.api().anonymous();
    anonymous.get("/api/v1/builds").unwrap().expect(401);
    // A token of the registry is for the registry.
    let token = server.api().registry("team/app");
    token
        .send("GET", "/api/v1/builds", &[], Vec::new())
        .unwrap()
        .expect(401);
}
