//! What each instruction comes to, as tables of Dockerfiles and their results.
//!
//! Compared with the BuildKit inside Debian's dockerd, as far as that old one
//! knows the language: heredocs, `${x-y}` and ARG from left to right are newer.

use builder_proto::pb::{Op, file_action::Action, op};
use prost::Message;

use super::{default_base, lower_on, options};
use crate::lower::Lowered;

/// The result of a file, line by line: what differs from the base image, and
/// the steps; or its error.
fn result(text: &str, build_args: &[(&str, &str)]) -> Vec<String> {
    let mut options = options();
    let args = build_args.iter();
    options.build_args = args
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    match lower_on(text, &options, &default_base()) {
        Err(error) => vec![format!("error {error}")],
        Ok(lowered) => {
            let mut lines = steps(&lowered);
            lines.extend(configuration(&lowered));
            lines
        }
    }
}

fn steps(lowered: &Lowered) -> Vec<String> {
    let mut lines = Vec::new();
    for bytes in &lowered.definition.def {
        match Op::decode(bytes.clone()).unwrap().op {
            Some(op::Op::Exec(exec)) => {
                let meta = exec.meta.unwrap();
                let user = match meta.user.as_str() {
                    "" => String::new(),
                    user => format!(" as {user}"),
                };
                let cwd = match meta.cwd.as_str() {
                    "/" => String::new(),
                    cwd => format!(" in {cwd}"),
                };
                lines.push(format!("run {:?}{cwd}{user}", meta.args));
            }
            Some(op::Op::File(file)) => {
                let actions = file.actions.into_iter().map(|a| a.action.unwrap());
                lines.extend(actions.map(|action| match action {
                    Action::Copy(copy) => format!("copy {} to {}", copy.src, copy.dest),
                    Action::Mkdir(made) => format!("mkdir {}", made.path),
                    Action::Mkfile(made) => {
                        let data = String::from_utf8(made.data.to_vec()).unwrap();
                        format!("file {} {data:?}", made.path)
                    }
                    other => panic!("not made by this frontend: {other:?}"),
                }));
            }
            _ => {}
        }
    }
    lines
}

fn configuration(lowered: &Lowered) -> Vec<String> {
    let config = &lowered.config.config;
    let mut lines: Vec<String> = config
        .env
        .iter()
        .filter(|entry| !entry.starts_with("PATH=/usr/"))
        .map(|entry| format!("env {entry}"))
        .collect();
    let words = |words: &Option<Vec<String>>| match words {
        Some(words) => format!("{words:?}"),
        None => "none".to_owned(),
    };
    let shell = Some(vec!["/bin/sh".to_owned()]);
    if config.cmd != shell {
        lines.push(format!("cmd {}", words(&config.cmd)));
    }
    if config.entrypoint.is_some() {
        lines.push(format!("entrypoint {}", words(&config.entrypoint)));
    }
    if !matches!(config.working_dir.as_str(), "" | "/") {
        lines.push(format!("workdir {}", config.working_dir));
    }
    if !config.user.is_empty() {
        lines.push(format!("user {}", config.user));
    }
    let list = |name: &str, items: Vec<&str>| match items.is_empty() {
        true => None,
        false => Some(format!("{name} {}", items.join(" "))),
    };
    let keys = |map: &std::collections::BTreeMap<String, _>| -> Vec<String> {
        map.keys().cloned().collect()
    };
    let (ports, volumes) = (keys(&config.exposed_ports), keys(&config.volumes));
    lines.extend(list("expose", ports.iter().map(String::as_str).collect()));
    lines.extend(list("volume", volumes.iter().map(String::as_str).collect()));
    let labels = config.labels.iter();
    lines.extend(labels.map(|(name, value)| format!("label {name}={value}")));
    lines.extend(config.stop_signal.iter().map(|s| format!("stop {s}")));
    lines.extend(config.healthcheck.iter().map(|c| format!("health {c}")));
    lines.extend(config.on_build.iter().map(|t| format!("onbuild {t:?}")));
    lines
}

#[track_caller]
fn check_with(text: &str, build_args: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(result(text, build_args), expected, "\n{text}");
}

/// Checks the lines below `FROM a`.
#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    check_with(&format!("FROM a\n{lines}\n"), &[], expected);
}

#[test]
fn env() {
    check(
        "ENV A=1 B=$A\nENV C=$A D=${B:-x}",
        &["env A=1", "env B=", "env C=1", "env D=x"],
    );
    check("ENV A=1\nENV B=2\nENV A=3", &["env A=3", "env B=2"]);
    check("ENV A x  y z ", &["env A=x  y z"]);
    check("ENV A \"q w\"", &["env A=q w"]);
    check(
        r#"ENV A=a\ b B="c d" C='e f' D="a\"b" E='a"b' F="it's" G=a\\b H="a\nb""#,
        &[
            "env A=a b",
            "env B=c d",
            "env C=e f",
            "env D=a\"b",
            "env E=a\"b",
            "env F=it's",
            "env G=a\\b",
            "env H=a\\nb",
        ],
    );
    check("ENV A=\"\" B= C=''", &["env A=", "env B=", "env C="]);
    check("ENV PATH=/x:$PATH", &["env PATH=/x:/usr/bin:/bin"]);
    check("ENV A=# B=#x", &["env A=#", "env B=#x"]);
}

#[test]
fn substitution() {
    let with = |rest: &str, expected: &str| {
        let text = format!("ENV A=a E=\nENV R={rest}");
        check(&text, &["env A=a", "env E=", &format!("env R={expected}")]);
    };
    with("$A-${A}b", "a-ab");
    with("$Ab", "");
    with("${A:-x}${N:-x}${E:-x}", "axx");
    with("${A-x}${N-x}[${E-x}]", "ax[]");
    with("${A:+x}[${N:+x}${E:+x}]", "x[]");
    with("${A+x}${E+x}[${N+x}]", "xx[]");
    with("${N:-${N:-$A$A}}", "aa");
    with("\"${N:-x y}\"", "x y");
    with("${N:-\"x y\"}", "x y");
    with("\"${N:-'x'}\"", "x");
    with("\\$A'$A'\"\\$A\"", "$A$A$A");
    with("a$", "a$");
    with("\"$\"", "$");
    with("${A:?x}", "a");
    let error = |rest: &str, expected: &str| {
        let message = format!("error Dockerfile:2: ENV: failed to process {expected}");
        check(&format!("ENV R={rest}"), &[&message]);
    };
    error("${N:?set", "\"${N:?set\": syntax error: missing '}'");
    error("${N:?unset}", "\"${N:?unset}\": N: unset");
    error(
        "\"x",
        "\"\\\"x\": unexpected end of statement while looking for matching double-quote",
    );
    error(
        "${N^^}",
        "\"${N^^}\": unsupported modifier (^) in substitution",
    );
    // No other instruction than those of the reference expands.
    check(
        "ENV A=a\nCMD $A\nENTRYPOINT [\"$A\"]\nHEALTHCHECK CMD $A\nONBUILD ENV B=$A",
        &[
            "env A=a",
            "cmd [\"/bin/sh\", \"-c\", \"$A\"]",
            "entrypoint [\"$A\"]",
            "health {\"Test\":[\"CMD-SHELL\",\"$A\"]}",
            "onbuild \"ENV B=$A\"",
        ],
    );
}

#[test]
fn arg() {
    let scope = "ARG G=glob\nARG H=${G}2\nFROM a\nARG G\nARG L=$G-l\nENV A=$G B=$H C=$L";
    check_with(scope, &[], &["env A=glob", "env B=", "env C=glob-l"]);
    check_with(
        scope,
        &[("G", "g"), ("L", "l"), ("H", "unused")],
        &["env A=g", "env B=", "env C=l"],
    );
    // The stage's own default beats the global one.
    check_with("ARG G=1\nFROM a\nARG G=2\nENV A=$G", &[], &["env A=2"]);
    check("ARG N\nENV A=[$N] B=${N:-d}", &["env A=[]", "env B=d"]);
    // From left to right, unlike ENV.
    check("ARG X=x Y=$X\nENV A=$Y", &["env A=x"]);
    // The later of ARG and ENV counts, also for what is given.
    check_with(
        "FROM a\nENV A=e\nARG A=a\nENV R=$A",
        &[("A", "g")],
        &["env A=e", "env R=g"],
    );
    check_with(
        "FROM a\nARG A=a\nENV A=e\nENV R=$A",
        &[("A", "g")],
        &["env A=e", "env R=e"],
    );
    // Stages on a stage see its arguments; others do not.
    check_with(
        "FROM a AS x\nARG V=1\nFROM x\nENV A=[$V]",
        &[],
        &["env A=[1]"],
    );
    check_with(
        "FROM a AS x\nARG V=1\nFROM a\nENV A=[$V]",
        &[],
        &["env A=[]"],
    );
    // The platform's arguments are global ones.
    check(
        "ENV A=[$TARGETARCH]\nARG TARGETPLATFORM TARGETOS TARGETARCH\n\
         ENV B=$TARGETPLATFORM,$TARGETOS,$TARGETARCH",
        &["env A=[]", "env B=linux/amd64,linux,amd64"],
    );
}

#[test]
fn from() {
    let from = |text: &str, expected: &[&str]| check_with(text, &[], expected);
    from("FROM scratch\nENV A=1", &["env A=1", "cmd none"]);
    from(
        "from a as S\nenv A=1\nfrom s\nlabel b=2",
        &["env A=1", "label b=2"],
    );
    from("ARG B=a\nFROM ${B} AS n\nENV A=[$B]\nFROM n", &["env A=[]"]);
    from("FROM --platform=$BUILDPLATFORM a\nENV A=1", &["env A=1"]);
    from(
        "FROM a AS x\nENV A=1\nFROM a AS x\nENV A=2\nFROM x",
        &["env A=2"],
    );
    // A trigger runs in the next stage and not in the one after that.
    from(
        "FROM a AS x\nONBUILD ENV A=t\nONBUILD RUN make\nFROM x AS y\nENV B=$A\nFROM y",
        &["run [\"/bin/sh\", \"-c\", \"make\"]", "env A=t", "env B=t"],
    );
    for (line, message) in [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a AS", "FROM requires either one or three arguments"),
        (
            "FROM a AS $N",
            "invalid name for build stage: \"$N\", name can't start with a number or contain symbols",
        ),
        (
            "FROM --platfrm=x a",
            "unknown flag: --platfrm (did you mean platform?)",
        ),
    ] {
        from(
            line,
            &[&format!(
                "error Dockerfile:1: FROM: dockerfile parse error on line 1: {message}"
            )],
        );
    }
}

#[test]
fn run() {
    check("RUN a $B", &["run [\"/bin/sh\", \"-c\", \"a $B\"]"]);
    check("RUN [\"a\", \"$B\"]", &["run [\"a\", \"$B\"]"]);
    // No JSON after all.
    check("RUN ['a']", &["run [\"/bin/sh\", \"-c\", \"['a']\"]"]);
    check(
        "RUN a \\\n  # a comment\n\n  && b \\\n",
        &["run [\"/bin/sh\", \"-c\", \"a   && b\"]"],
    );
    check(
        "SHELL [\"/bin/ash\", \"-ec\"]\nRUN a\nCMD b",
        &[
            "run [\"/bin/ash\", \"-ec\", \"a\"]",
            "cmd [\"/bin/ash\", \"-ec\", \"b\"]",
        ],
    );
    check(
        "WORKDIR /w\nUSER u:g\nRUN a",
        &[
            "mkdir /w",
            "run [\"/bin/sh\", \"-c\", \"a\"] in /w as u:g",
            "workdir /w",
            "user u:g",
        ],
    );
    check(
        "RUN <<EOF\na $B\nb\nEOF",
        &["run [\"/bin/sh\", \"-c\", \"a $B\\nb\\n\"]"],
    );
    check(
        "RUN <<-EOF\n\ta\n\tEOF",
        &["run [\"/bin/sh\", \"-c\", \"a\\n\"]"],
    );
    check(
        "RUN <<EOF\n#!/bin/x\na\nEOF",
        &[
            "file /EOF \"#!/bin/x\\na\\n\"",
            "run [\"/bin/sh\", \"-c\", \"/dev/pipes/EOF\"]",
        ],
    );
    check(
        "RUN cat <<A - <<B\n1\nA\n2\nB",
        &["run [\"/bin/sh\", \"-c\", \"cat <<A - <<B\\n1\\nA\\n2\\nB\"]"],
    );
    check(
        "RUN",
        &[
            "error Dockerfile:2: RUN: dockerfile parse error on line 2: RUN requires at least one argument",
        ],
    );
}

#[test]
fn copy() {
    check("COPY x /y", &["copy /x to /y"]);
    check("COPY x/ y/", &["copy /x to /y/"]);
    check("COPY ./x/../z .", &["copy /z to /"]);
    check(
        "WORKDIR /w\nCOPY a b ./\nCOPY c .\nCOPY d ../e\nCOPY . .",
        &[
            "mkdir /w",
            "copy /a to /w/",
            "copy /b to /w/",
            "copy /c to /w/",
            "copy /d to /e",
            "copy / to /w/",
            "workdir /w",
        ],
    );
    check("COPY [\"a b\", \"c d/\"]", &["copy /a b to /c d/"]);
    check(
        "ENV D=/d\nCOPY $D/* ${D}/",
        &["copy /d/* to /d/", "env D=/d"],
    );
    check("COPY ../../x /../y", &["copy /x to /y"]);
    check(
        "COPY <<A <<'B' x /d/\n$PATH\nA\n$PATH\nB",
        &[
            "file /A \"/usr/bin:/bin\\n\"",
            "file /B \"$PATH\\n\"",
            "copy /x to /d/",
            "copy /A to /d/",
            "copy /B to /d/",
        ],
    );
    let from = "FROM a AS x\nRUN 1\nFROM a\nCOPY --from=X /o /p\nCOPY --from=0 q /r/";
    check_with(
        from,
        &[],
        &[
            "run [\"/bin/sh\", \"-c\", \"1\"]",
            "copy /o to /p",
            "copy /q to /r/",
        ],
    );
}

#[test]
fn workdir_and_user() {
    check(
        "WORKDIR a\nWORKDIR b/../c\nENV D=/x\nWORKDIR $D/y\nWORKDIR \"q r\"\nWORKDIR s t",
        &[
            "mkdir /a",
            "mkdir /a/c",
            "mkdir /x/y",
            "mkdir /x/y/q r",
            "mkdir /x/y/q r/s t",
            "env D=/x",
            "workdir /x/y/q r/s t",
        ],
    );
    check(
        "WORKDIR /a/\nWORKDIR .",
        &["mkdir /a", "mkdir /a", "workdir /a"],
    );
    check("WORKDIR /a\nWORKDIR /", &["mkdir /a"]);
    check(
        "WORKDIR /q\nWORKDIR $N",
        &["mkdir /q", "mkdir /q", "workdir /q"],
    );
    check("ARG U\nUSER ${U:-9}:7", &["user 9:7"]);
    check("USER \"a b\"", &["user a b"]);
    // Nothing is root.
    check("USER 5\nARG U\nUSER $U", &[]);
}

#[test]
fn cmd_and_entrypoint() {
    check("CMD a b", &["cmd [\"/bin/sh\", \"-c\", \"a b\"]"]);
    check("CMD [\"a\", \"b c\"]", &["cmd [\"a\", \"b c\"]"]);
    check("CMD [ \"a\" , \"b\" ] ", &["cmd [\"a\", \"b\"]"]);
    check("CMD a\nCMD [\"b\"]", &["cmd [\"b\"]"]);
    // ENTRYPOINT forgets the base's CMD, and none of the same stage, before or after.
    check("ENTRYPOINT [\"e\"]", &["cmd none", "entrypoint [\"e\"]"]);
    check(
        "CMD [\"x\"]\nENTRYPOINT [\"e\"]",
        &["cmd [\"x\"]", "entrypoint [\"e\"]"],
    );
    let child = |rest: &str, expected: &[&str]| {
        let text = format!("FROM a AS p\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\nFROM p\n{rest}");
        check_with(&text, &[], expected);
    };
    child("ENV A=1", &["env A=1", "cmd [\"c\"]", "entrypoint [\"e\"]"]);
    child("ENTRYPOINT [\"f\"]", &["cmd none", "entrypoint [\"f\"]"]);
    child("ENTRYPOINT []", &["cmd none"]);
    child("CMD [\"d\"]", &["cmd [\"d\"]", "entrypoint [\"e\"]"]);
    child(
        "CMD [\"d\"]\nENTRYPOINT f",
        &["cmd [\"d\"]", "entrypoint [\"/bin/sh\", \"-c\", \"f\"]"],
    );
}

#[test]
fn labels_ports_and_volumes() {
    check(
        "ENV V=v\nLABEL a=b \"c d\"=\"e f\" g='h i' j=k\\ l \"q$V\"=$V z='$V'",
        &[
            "env V=v",
            "label a=b",
            "label c d=e f",
            "label g=h i",
            "label j=k l",
            "label qv=v",
            "label z=$V",
        ],
    );
    check("LABEL m n o", &["label m=n o"]);
    check(
        "LABEL a=\"l1\\\n  l2\" b=\"x # y\"",
        &["label a=l1  l2", "label b=x # y"],
    );
    check(
        "LABEL a=b c",
        &[
            "error Dockerfile:2: LABEL: dockerfile parse error on line 2: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ],
    );
    check(
        "ENV P=90\nEXPOSE 80 443/tcp 53/udp 1000-1001 $P/UDP",
        &[
            "env P=90",
            "expose 1000/tcp 1001/tcp 443/tcp 53/udp 80/tcp 90/udp",
        ],
    );
    check("EXPOSE 1:2 127.0.0.1:3:4", &["expose 2/tcp 4/tcp"]);
    check(
        "EXPOSE 9-3",
        &["error Dockerfile:2: EXPOSE: invalid containerPort: 9-3"],
    );
    check(
        "ENV W=/w\nVOLUME /a /b/ rel\nVOLUME [\"/c d\", \"$W\"]",
        &["env W=/w", "volume /a /b/ /c d /w rel"],
    );
    check("STOPSIGNAL 9\nSTOPSIGNAL SIGUSR1", &["stop SIGUSR1"]);
    check("STOPSIGNAL sigterm", &["stop sigterm"]);
    check("HEALTHCHECK NONE", &["health {\"Test\":[\"NONE\"]}"]);
    check("MAINTAINER me", &[]);
}

#[test]
fn lines_and_directives() {
    check(
        "ENV A=1 \\\n# in the middle\n    # indented\n\n B=2",
        &["env A=1", "env B=2"],
    );
    check(
        "   ENV A=1\t\n\tENV B=2 \\   \n  C=3  ",
        &["env A=1", "env B=2", "env C=3"],
    );
    check("ENV A=a\\\n  B=b", &["env A=a", "env B=b"]);
    check("ENV A=a\\\nB=b", &["env A=aB=b"]);
    check("ENV A=\"a \\\n  b\"", &["env A=a   b"]);
    check(
        "RUN a \\\\\nENV A=1",
        &["run [\"/bin/sh\", \"-c\", \"a \\\\\\\\\"]", "env A=1"],
    );
    let file = |text: &str, expected: &[&str]| check_with(text, &[], expected);
    file(
        "# escape=`\nFROM a\nENV A=c:\\x B=a` b C=`$A \\\nENV D=1",
        &[
            "error Dockerfile:3: ENV: dockerfile parse error on line 3: Syntax error - can't find = in \"\\\\\". Must be of the form: name=value",
        ],
    );
    file(
        "# escape=`\nFROM a\nENV A=c:\\x B=a` b C=`$A `\n  D=1",
        &["env A=c:\\x", "env B=a b", "env C=$A", "env D=1"],
    );
    // A syntax directive is for BuildKit; after any comment there are no more.
    file(
        "# syntax=docker/dockerfile:1\n#escape = `\nFROM a\nENV A=\\q",
        &["env A=\\q"],
    );
    file("# a comment\n# escape=`\nFROM a\nENV A=a`b", &["env A=a`b"]);
    file("\n# escape=`\nFROM a\nENV A=a`b", &["env A=a`b"]);
    file(
        "\u{feff}FROM a\r\nENV A=1 \\\r\n  B=2\r\n",
        &["env A=1", "env B=2"],
    );
    check(
        "FOO x",
        &[
            "error Dockerfile:2: FOO: dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
        ],
    );
}
