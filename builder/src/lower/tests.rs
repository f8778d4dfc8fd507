use std::fmt::Write as _;

use builder_proto::{
    api::BuildOptions,
    pb::{self, Op, file_action::Action, op},
};
use oci::{ContainerConfig, Digest, RootFs};
use prost::Message;

use super::*;
use crate::dockerfile;

#[path = "semantics.rs"]
mod semantics;

/// A base image with one layer and the given configuration.
fn base_image(config: ContainerConfig) -> ResolvedBase {
    ResolvedBase {
        digest: Digest::sha256(b"image"),
        config: ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![Digest::sha256(b"layer")],
            },
            ..ImageConfig::default()
        },
    }
}

fn default_base() -> ResolvedBase {
    base_image(ContainerConfig {
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cmd: Some(vec!["/bin/sh".to_owned()]),
        ..ContainerConfig::default()
    })
}

fn options() -> BuildOptions {
    BuildOptions {
        platform: "linux/amd64".to_owned(),
        ..BuildOptions::default()
    }
}

/// Plans and lowers with every base image resolved to `image`.
fn lower_on(
    text: &str,
    options: &BuildOptions,
    image: &ResolvedBase,
) -> Result<Lowered, DockerfileError> {
    let plan = plan(dockerfile::parse(text, "Dockerfile")?, options)?;
    let mut resolved = ResolvedBases::new();
    loop {
        let missing = plan.missing(&resolved)?;
        if missing.is_empty() {
            return lower(&plan, &resolved, &SourceContext::default());
        }
        resolved.extend(missing.into_iter().map(|base| (base, image.clone())));
    }
}

/// The graph as text: per vertex its inputs, operation, name and lines.
fn dump(definition: &Definition) -> String {
    let mut out = String::new();
    let mut names = std::collections::HashMap::new();
    for (number, bytes) in definition.def.iter().enumerate() {
        let op = Op::decode(bytes.clone()).unwrap();
        let digest = Digest::sha256(bytes).to_string();
        let inputs: Vec<String> = op
            .inputs
            .iter()
            .map(|input| format!("{}", names[&input.digest]))
            .collect();
        names.insert(digest.clone(), number);
        let inputs = inputs.join(" ");
        let Some(kind) = &op.op else {
            writeln!(out, "{number}: result {inputs}").unwrap();
            continue;
        };
        let metadata = &definition.metadata[&digest];
        let name = &metadata.description["llb.customname"];
        let cached = if metadata.ignore_cache {
            " no-cache"
        } else {
            ""
        };
        let lines = definition.source.as_ref().unwrap().locations.get(&digest);
        let lines: Vec<String> = lines
            .iter()
            .flat_map(|locations| &locations.locations)
            .map(|location| {
                let line = |range: &pb::Range| range.start.unwrap().line;
                let (first, last) = (&location.ranges[0], location.ranges.last().unwrap());
                match (line(first), line(last)) {
                    (first, last) if first == last => format!("{first}"),
                    (first, last) => format!("{first}-{last}"),
                }
            })
            .collect();
        writeln!(
            out,
            "{number}: <- [{inputs}] {name:?} lines {}{cached}",
            lines.join(",")
        )
        .unwrap();
        dump_op(&mut out, kind);
    }
    out
}

fn dump_op(out: &mut String, kind: &op::Op) {
    match kind {
        op::Op::Source(source) => {
            writeln!(out, "   source {} {:?}", source.identifier, source.attrs).unwrap();
        }
        op::Op::Exec(exec) => {
            let meta = exec.meta.as_ref().unwrap();
            writeln!(
                out,
                "   exec {:?} in {} as {:?}",
                meta.args, meta.cwd, meta.user
            )
            .unwrap();
            writeln!(out, "   env {:?}", meta.env).unwrap();
            if let Some(proxy) = &meta.proxy_env {
                writeln!(out, "   {proxy:?}").unwrap();
            }
            if exec.network != 0 {
                writeln!(out, "   network {:?}", exec.network()).unwrap();
            }
            for mount in &exec.mounts {
                write!(
                    out,
                    "   {:?} {} <- {}{} -> {}",
                    mount.mount_type(),
                    mount.dest,
                    mount.input,
                    mount.selector,
                    mount.output
                )
                .unwrap();
                if mount.readonly {
                    write!(out, " ro").unwrap();
                }
                if let Some(cache) = &mount.cache_opt {
                    write!(out, " {} {:?}", cache.id, cache.sharing()).unwrap();
                }
                if let Some(tmpfs) = &mount.tmpfs_opt {
                    write!(out, " {} bytes", tmpfs.size).unwrap();
                }
                writeln!(out).unwrap();
            }
        }
        op::Op::File(file) => {
            for action in &file.actions {
                let ends = format!(
                    "{} {} -> {}",
                    action.input, action.secondary_input, action.output
                );
                match action.action.as_ref().unwrap() {
                    Action::Copy(copy) => {
                        write!(out, "   copy {ends}: {} to {}", copy.src, copy.dest).unwrap();
                        if let Some(owner) = &copy.owner {
                            write!(out, " owner {}", owner_text(owner)).unwrap();
                        }
                        if copy.mode != -1 || !copy.mode_str.is_empty() {
                            write!(out, " mode {:o}{}", copy.mode, copy.mode_str).unwrap();
                        }
                        for (set, flag) in [
                            (copy.follow_symlink, "follow"),
                            (copy.dir_copy_contents, "contents"),
                            (copy.attempt_unpack_docker_compatibility, "unpack"),
                            (copy.create_dest_path, "parents"),
                            (copy.allow_wildcard, "wildcard"),
                            (copy.allow_empty_wildcard, "empty"),
                        ] {
                            if set {
                                write!(out, " {flag}").unwrap();
                            }
                        }
                        for (name, list) in [
                            ("include", &copy.include_patterns),
                            ("exclude", &copy.exclude_patterns),
                            ("required", &copy.required_paths),
                        ] {
                            if !list.is_empty() {
                                write!(out, " {name} {list:?}").unwrap();
                            }
                        }
                        writeln!(out).unwrap();
                    }
                    Action::Mkdir(mkdir) => {
                        write!(out, "   mkdir {ends}: {} {:o}", mkdir.path, mkdir.mode).unwrap();
                        if let Some(owner) = &mkdir.owner {
                            write!(out, " owner {}", owner_text(owner)).unwrap();
                        }
                        writeln!(out).unwrap();
                    }
                    Action::Mkfile(file) => {
                        let data = String::from_utf8_lossy(&file.data);
                        writeln!(
                            out,
                            "   mkfile {ends}: {} {:o} {data:?}",
                            file.path, file.mode
                        )
                        .unwrap();
                    }
                    other => panic!("not made by this frontend: {other:?}"),
                }
            }
        }
        other => panic!("not made by this frontend: {other:?}"),
    }
}

fn owner_text(owner: &pb::ChownOpt) -> String {
    let one = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|u| u.user.as_ref()) {
        None => String::new(),
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        Some(pb::user_opt::User::ByName(name)) => format!("{}@{}", name.name, name.input),
    };
    format!("{}:{}", one(&owner.user), one(&owner.group))
}

/// Graph and configuration, or the error, of a build with `options`.
fn shown(text: &str, options: &BuildOptions) -> String {
    match lower_on(text, options, &default_base()) {
        Err(error) => format!("{error}\n"),
        Ok(lowered) => format!(
            "{}{}\n",
            dump(&lowered.definition),
            serde_json::to_string_pretty(&lowered.config).unwrap()
        ),
    }
}

fn error_of(text: &str) -> String {
    let result = lower_on(text, &options(), &default_base());
    result.map(|_| ()).unwrap_err().to_string()
}

macro_rules! snapshot {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("testdata/", stringify!($name), ".Dockerfile"));
            insta::assert_snapshot!(shown(text, &options()));
        }
    )*};
}

// BuildKit v0.34's own frontend makes the same graphs and configurations of
// these files, but for --link, which is a plain copy here.
snapshot! {
    escape_backtick
    expansion
    flags
    heredocs
    kitchen_sink
    paths
    run_heredocs
    stages_and_args
}

#[test]
fn options_of_the_build_are_lowered() {
    let text = "ARG V=1\nFROM base:$V\nARG V\nARG http_proxy\nRUN echo $V\n";
    let mut options = options();
    options.build_args = [
        ("V", "2"),
        ("HTTP_PROXY", "http://p:1"),
        ("SOURCE_DATE_EPOCH", "60"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    options.labels = [("a".to_owned(), "b".to_owned())].into();
    options.network = "none".to_owned();
    options.no_cache = true;
    insta::assert_snapshot!(shown(text, &options));
    let lowered = lower_on(text, &options, &default_base()).unwrap();
    assert_eq!(lowered.source_date_epoch, Some(60));
}

#[test]
fn only_what_the_target_needs_is_built() {
    let text = "FROM base AS a\nRUN one\nFROM b AS b\nRUN two\nFROM base AS c\nRUN three\n";
    let names = |target: &str| {
        let options = BuildOptions {
            target: target.to_owned(),
            ..options()
        };
        let lowered = lower_on(text, &options, &default_base()).unwrap();
        let mut names: Vec<String> = lowered
            .definition
            .metadata
            .values()
            .filter_map(|metadata| metadata.description.get("llb.customname"))
            .map(|name| name.split(' ').next_back().unwrap().to_owned())
            .filter(|name| !name.contains('@'))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["three"]);
    assert_eq!(names("A"), ["one"]);
    assert_eq!(names("b"), ["two"]);
    assert_eq!(names("1"), ["two"]);

    // Only the images of needed stages are looked up.
    let plan = plan(dockerfile::parse(text, "Dockerfile").unwrap(), &options()).unwrap();
    let missing = plan.missing(&ResolvedBases::new()).unwrap();
    assert_eq!(missing.len(), 1);
    assert_eq!(
        missing[0].reference.to_string(),
        "docker.io/library/base:latest"
    );
}

#[test]
fn triggers_of_a_base_image_bring_their_own_images() {
    let base = base_image(ContainerConfig {
        on_build: vec![
            "COPY --from=tools /t /t".to_owned(),
            "RUN <<EOF\nmake\nEOF".to_owned(),
        ],
        ..ContainerConfig::default()
    });
    let plan = plan(
        dockerfile::parse("FROM base\nCMD x\n", "Dockerfile").unwrap(),
        &options(),
    )
    .unwrap();
    let mut resolved = ResolvedBases::new();
    let mut asked = Vec::new();
    loop {
        let missing = plan.missing(&resolved).unwrap();
        if missing.is_empty() {
            break;
        }
        asked.extend(missing.iter().map(|base| base.reference.familiar()));
        resolved.extend(missing.into_iter().map(|found| (found, base.clone())));
    }
    assert_eq!(asked, ["base:latest", "tools:latest"]);
    let lowered = lower(&plan, &resolved, &SourceContext::default()).unwrap();
    assert!(lowered.config.config.on_build.is_empty());
    insta::assert_snapshot!(dump(&lowered.definition));
}

#[test]
fn the_context_is_named_with_its_patterns() {
    let text = "FROM scratch\nCOPY a/*.c /\nCOPY ./b /\n";
    let plan = plan(dockerfile::parse(text, "Dockerfile").unwrap(), &options()).unwrap();
    let source = SourceContext {
        unique: "build-7".to_owned(),
        exclude_patterns: vec!["*.o".to_owned(), "!keep.o".to_owned()],
    };
    let lowered = lower(&plan, &ResolvedBases::new(), &source).unwrap();
    let op = Op::decode(lowered.definition.def[0].clone()).unwrap();
    let Some(op::Op::Source(local)) = op.op else {
        panic!("{op:?}")
    };
    assert_eq!(local.identifier, "local://context");
    assert_eq!(local.attrs[ATTR_FOLLOW_PATHS], r#"["a/*.c","b"]"#);
    assert_eq!(local.attrs[ATTR_EXCLUDE_PATTERNS], r#"["*.o","!keep.o"]"#);
    assert_eq!(local.attrs[ATTR_UNIQUE], "build-7");
}

#[test]
fn the_empty_result_has_no_vertex() {
    let lowered = lower_on("FROM scratch\nCMD [\"x\"]\n", &options(), &default_base()).unwrap();
    assert!(lowered.definition.def.is_empty());
    assert_eq!(lowered.config.config.cmd, Some(vec!["x".to_owned()]));
}

#[test]
fn errors_name_the_instruction() {
    for (text, expected) in [
        (
            "FROM $NONE",
            "Dockerfile:1: FROM: base name ($NONE) should not be blank",
        ),
        (
            "FROM Foo",
            "Dockerfile:1: FROM: failed to parse stage name \"Foo\": invalid reference format: repository name (library/Foo) must be lowercase",
        ),
        (
            "FROM --platform=$NONE a",
            "Dockerfile:1: FROM: empty platform value from expression $NONE",
        ),
        (
            "FROM --platform=linux a",
            "Dockerfile:1: FROM: failed to parse platform linux: write os/architecture[/variant]",
        ),
        (
            "FROM a\nCOPY --from=7 a b",
            "Dockerfile:2: COPY: invalid stage index 7",
        ),
        (
            "FROM a\nCOPY --from=$X a b",
            "Dockerfile:2: COPY: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
        (
            "FROM a AS a\nCOPY --from=b x y\nFROM a AS c\nFROM b AS b\nRUN x\nFROM a",
            "Dockerfile:2: COPY: cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ),
        (
            "FROM a AS a\nCOPY --from=b x y\nFROM a AS b\n",
            "Dockerfile:2: COPY: circular dependency detected on stage: a",
        ),
        (
            "FROM a AS a\nRUN --mount=from=a,target=/x y",
            "Dockerfile:2: RUN: circular dependency detected on stage: a",
        ),
        (
            "FROM a\nRUN --mount=type=bnd,target=/x a",
            "Dockerfile:2: RUN: unsupported mount type \"bnd\" (did you mean bind?)",
        ),
        (
            "FROM a\nRUN --mount=target=/ a",
            "Dockerfile:2: RUN: invalid mount target \"/\"",
        ),
        (
            "FROM a\nCOPY --chmod=9999 a b",
            "Dockerfile:2: COPY: invalid chmod parameter: '9999'. it should be octal string and between 0 and 07777",
        ),
        (
            "FROM a\nEXPOSE 99999",
            "Dockerfile:2: EXPOSE: invalid containerPort: 99999",
        ),
        (
            "FROM a\nEXPOSE 80/tpc",
            "Dockerfile:2: EXPOSE: invalid port: \"80/tpc\": invalid proto: tpc",
        ),
        (
            "FROM a\nSTOPSIGNAL FOO",
            "Dockerfile:2: STOPSIGNAL: invalid signal: FOO",
        ),
        (
            "FROM a\nCOPY http://x/y /z",
            "Dockerfile:2: COPY: source can't be a URL for COPY",
        ),
        (
            "FROM a\nENV A=${B:?set B}",
            "Dockerfile:2: ENV: dockerfile parse error on line 2: Syntax error - can't find = in \"B}\". Must be of the form: name=value",
        ),
        (
            "FROM a\nENV A=\"${B:?set B}\"",
            "Dockerfile:2: ENV: failed to process \"\\\"${B:?set B}\\\"\": B: set B",
        ),
    ] {
        assert_eq!(error_of(text), expected);
    }
    let unknown = BuildOptions {
        target: "fin".to_owned(),
        ..options()
    };
    let error = lower_on("FROM a AS final\nFROM b AS bin", &unknown, &default_base());
    assert_eq!(
        error.unwrap_err().to_string(),
        "Dockerfile: target stage \"fin\" could not be found (did you mean bin?)"
    );
}

#[test]
fn a_base_image_that_is_not_there_is_blamed_on_who_names_it() {
    let text = "FROM a\nRUN x\nCOPY --from=tools /t /t\nFROM b\nCOPY --from=0 /t /t\n";
    let plan = plan(dockerfile::parse(text, "Dockerfile").unwrap(), &options()).unwrap();
    let missing = plan.missing(&ResolvedBases::new()).unwrap();
    let mut shown: Vec<String> = missing
        .iter()
        .map(|base| plan.base_failed(base, "not found").to_string())
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "Dockerfile:1: FROM: failed to resolve source metadata for docker.io/library/a:latest: not found",
            "Dockerfile:3: COPY: failed to resolve source metadata for docker.io/library/tools:latest: not found",
            "Dockerfile:4: FROM: failed to resolve source metadata for docker.io/library/b:latest: not found",
        ]
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (line, name) in [
        ("RUN --security=insecure x", "RUN --security=insecure"),
        ("RUN --device=vendor/x y", "RUN --device"),
        ("RUN --network=host x", "the host's network"),
        ("RUN --mount=type=secret,id=a x", "RUN --mount=type=secret"),
        ("RUN --mount=type=ssh x", "RUN --mount=type=ssh"),
        (
            "ADD https://example.org/a.tar /",
            "ADD of \"https://example.org/a.tar\"",
        ),
        (
            "ADD git@example.org:a.git /",
            "ADD of \"git@example.org:a.git\"",
        ),
        ("ADD --checksum=sha256:00 a /", "ADD --checksum"),
        ("ADD --keep-git-dir=true a /", "ADD --keep-git-dir"),
    ] {
        let result = lower_on(&format!("FROM a\n{line}\n"), &options(), &default_base());
        let error = result.unwrap_err();
        assert_eq!(error.kind, dockerfile::ErrorKind::Unsupported, "{line}");
        assert!(error.message.starts_with(name), "{line}: {error}");
        assert_eq!(error.span.unwrap().start, 2);
    }
}

/// Advisories D1, F4, F9: paths of the file cannot name what is outside.
#[test]
fn paths_stay_inside() {
    for path in ["/../../etc", "../..", "/a/../../b", "/", "/.", ".."] {
        let error = error_of(&format!("FROM a\nVOLUME {path}\n"));
        assert!(
            error.contains("is not a directory inside the image"),
            "{error}"
        );
    }
    let text = "FROM a\nWORKDIR /a/../../../b\nWORKDIR ../../../..\nWORKDIR etc\n\
                COPY ../../../etc/shadow ../../../../x\nCOPY .. /y\n\
                RUN --mount=source=../../etc,target=../../../m true\n";
    let lowered = lower_on(text, &options(), &default_base()).unwrap();
    assert_eq!(lowered.config.config.working_dir, "/etc");
    let shown = dump(&lowered.definition);
    let operations = shown.lines().filter(|line| line.starts_with("   "));
    for line in operations {
        assert!(!line.contains(".."), "{line}");
    }
    assert!(
        shown.contains("copy 0 1 -> 0: /etc/shadow to /x "),
        "{shown}"
    );
    assert!(shown.contains("1/etc -> -1 ro"), "{shown}");
}

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    let too_large = |text: &str| {
        let error = lower_on(text, &options(), &default_base()).unwrap_err();
        assert_eq!(error.kind, dockerfile::ErrorKind::TooLarge, "{error}");
    };
    // Variables that double.
    let mut doubling = "FROM a\nENV A=xxxxxxxxxxxxxxxx\n".to_owned();
    for _ in 0..40 {
        doubling.push_str("ENV A=$A$A\n");
    }
    too_large(&doubling);
    // A large environment in every step.
    let mut large = format!("FROM a\nENV A={}\n", "x".repeat(60_000));
    for number in 0..2_000 {
        large.push_str(&format!("RUN {number}\n"));
    }
    too_large(&large);
    // Very many stages, each on the one before.
    let mut stages = "FROM a AS s0\n".to_owned();
    for number in 1..2_000 {
        stages.push_str(&format!("FROM s{} AS s{number}\n", number - 1));
    }
    too_large(&stages);
    // More parts than one operation takes.
    too_large(&format!("FROM a\nCOPY {} /x/\n", "a ".repeat(1_001)));
    too_large(&format!(
        "FROM a\nRUN {} x\n",
        "--mount=target=/x ".repeat(999)
    ));
    // Very many ports.
    too_large("FROM a\nEXPOSE 0-65535 0-65535/udp\n");
}

#[test]
fn a_long_chain_does_not_overflow_the_stack() {
    let mut text = "FROM a\n".to_owned();
    for number in 0..20_000 {
        text.push_str(&format!("RUN {number}\n"));
    }
    let lowered = lower_on(&text, &options(), &default_base()).unwrap();
    assert_eq!(lowered.definition.def.len(), 20_002);
}

#[test]
fn steps_that_do_the_same_are_one_vertex() {
    let text = "FROM a AS x\nRUN make\nFROM a AS y\nRUN make\nFROM scratch\n\
                COPY --from=x /1 /1\nCOPY --from=y /2 /2\n";
    let lowered = lower_on(text, &options(), &default_base()).unwrap();
    let shown = dump(&lowered.definition);
    assert_eq!(shown.matches("RUN make").count(), 1, "{shown}");
    assert!(shown.contains("lines 2,4"), "{shown}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn instruction() -> impl Strategy<Value = String> {
        let word = "[a-zA-Z0-9$/.*{}:_,=\"'-]{1,12}";
        prop_oneof![
            word.prop_map(|w| format!("FROM {w}")),
            (word, "[a-z]{1,3}").prop_map(|(w, n)| format!("FROM {w} AS {n}")),
            (word, word).prop_map(|(a, b)| format!("COPY {a} {b}")),
            ("[a-z0-9]{1,3}", word, word).prop_map(|(f, a, b)| format!("COPY --from={f} {a} {b}")),
            (word, word).prop_map(|(a, b)| format!("ENV {a}={b}")),
            (word, word).prop_map(|(a, b)| format!("ARG {a}={b}")),
            word.prop_map(|w| format!("RUN {w}")),
            word.prop_map(|w| format!("RUN --mount={w} x")),
            word.prop_map(|w| format!("WORKDIR {w}")),
            word.prop_map(|w| format!("USER {w}")),
            word.prop_map(|w| format!("EXPOSE {w}")),
            word.prop_map(|w| format!("VOLUME {w}")),
            word.prop_map(|w| format!("ONBUILD RUN {w}")),
            word.prop_map(|w| format!("ADD --chmod={w} a b")),
        ]
    }

    proptest! {
        #[test]
        fn never_panics_and_repeats_itself(lines in proptest::collection::vec(instruction(), 0..12)) {
            let text = format!("FROM a AS a\n{}\n", lines.join("\n"));
            let once = lower_on(&text, &options(), &default_base());
            let again = lower_on(&text, &options(), &default_base());
            prop_assert_eq!(&once, &again);
            if let Ok(lowered) = once {
                let bytes = lowered.definition.encode_to_vec();
                prop_assert_eq!(bytes, again.unwrap().definition.encode_to_vec());
                // One history entry per vertex on the way from the base to the result.
                let layers = lowered.config.history.iter().filter(|entry| !entry.empty_layer);
                prop_assert!(layers.count() < lines.len() + 1);
            }
        }
    }
}
