use super::*;

/// The error of `text`, as a user reads it.
fn error(text: &str) -> String {
    match parse(text, "Dockerfile") {
        Ok(parsed) => panic!("parsed: {parsed:?}"),
        Err(error) => error.to_string(),
    }
}

fn first(text: &str) -> Kind {
    let parsed = parse(&format!("FROM scratch\n{text}\n"), "Dockerfile").unwrap();
    let mut instructions = parsed.stages[0].instructions.clone();
    assert_eq!(instructions.len(), 1, "{instructions:?}");
    instructions.remove(0).kind
}

fn check_error(text: &str, expected: &str) {
    assert_eq!(error(text), expected, "{text:?}");
}

#[test]
fn an_error_shows_its_place() {
    let text = "FROM scratch\n\nENV A=b\nRNU make\nCOPY a b\n";
    let error = parse(text, "docker/Dockerfile").unwrap_err();
    assert_eq!(
        error.to_string(),
        "docker/Dockerfile:4: RNU: dockerfile parse error on line 4: unknown instruction: RNU (did you mean RUN?)"
    );
    assert_eq!(
        error.excerpt,
        "docker/Dockerfile:4\n\
         --------------------\n   \
            2 |\n   \
            3 |     ENV A=b\n   \
            4 | >>> RNU make\n   \
            5 |     COPY a b\n\
         --------------------\n"
    );
    let failure = error.to_failure();
    assert_eq!(failure.line, Some(4));
    assert_eq!(failure.file.as_deref(), Some("docker/Dockerfile"));
}

#[test]
fn errors_use_the_known_phrases() {
    let parse_error = |rest: &str| {
        format!("Dockerfile:2: {rest}").replace("PE", "dockerfile parse error on line 2")
    };
    for (line, expected) in [
        (
            "COPY --chwon=a b c",
            "COPY: PE: unknown flag: --chwon (did you mean chown?)",
        ),
        (
            "COPY --chown b c",
            "COPY: PE: missing a value on flag: --chown",
        ),
        (
            "COPY --link=maybe b c",
            "COPY: PE: expecting boolean value for flag --link, not: maybe",
        ),
        (
            "COPY --from=a --from=b c d",
            "COPY: PE: duplicate flag specified: --from",
        ),
        (
            "COPY a",
            "COPY: PE: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("ENV a", "ENV: PE: ENV must have two arguments"),
        ("ENV", "ENV: PE: ENV requires at least one argument"),
        ("ENV =b", "ENV: PE: ENV names can not be blank"),
        (
            "ENV a=b c",
            "ENV: PE: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("ENV --x a=b", "ENV: PE: unknown flag: --x"),
        ("USER", "USER: PE: USER requires exactly one argument"),
        (
            "FROM a b",
            "FROM: PE: FROM requires either one or three arguments",
        ),
        (
            "FROM a AS 1b",
            "FROM: PE: invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
        (
            "SHELL bash",
            "SHELL: PE: SHELL requires the arguments to be in JSON form",
        ),
        (
            "CMD [\"a\", 1]",
            "CMD: PE: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        (
            "ONBUILD FROM a",
            "ONBUILD: PE: FROM isn't allowed as an ONBUILD trigger",
        ),
        (
            "ONBUILD ONBUILD RUN a",
            "ONBUILD: PE: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        (
            "HEALTHCHECK NONE x",
            "HEALTHCHECK: PE: HEALTHCHECK NONE takes no arguments",
        ),
        (
            "HEALTHCHECK FOO x",
            "HEALTHCHECK: PE: Unknown type \"FOO\" in HEALTHCHECK (try CMD)",
        ),
        (
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK: PE: Interval \"interval\" cannot be less than 1ms",
        ),
        (
            "HEALTHCHECK --retries=-1 CMD x",
            "HEALTHCHECK: PE: --retries cannot be negative (-1)",
        ),
        (
            "VOLUME []",
            "VOLUME: PE: VOLUME requires at least one argument",
        ),
        (
            "VOLUME [\" \"]",
            "VOLUME: PE: VOLUME specified can not be an empty string",
        ),
        ("RUN --network=lo x", "RUN: PE: invalid network mode \"lo\""),
        (
            "RUN --mount=type=bind,form=x,target=/y z",
            "RUN: PE: unexpected key 'form' in 'form=x' (did you mean from?)",
        ),
        ("RUN <<EOF\na", "RUN: PE: unterminated heredoc"),
        (
            "COPY a <<EOF\nx\nEOF",
            "COPY: PE: COPY cannot accept a heredoc as a destination",
        ),
    ] {
        check_error(&format!("FROM scratch\n{line}"), &parse_error(expected));
    }
}

#[test]
fn errors_without_a_stage() {
    check_error("", "Dockerfile: the Dockerfile cannot be empty");
    check_error("# only\n", "Dockerfile: file with no instructions");
    check_error(
        "ARG a\n",
        "Dockerfile: dockerfile contains no stages to build",
    );
    check_error(
        "RUN x\n",
        "Dockerfile:1: RUN: no build stage in current context",
    );
}

#[test]
fn directives() {
    let parsed = parse(
        "# syntax = docker/dockerfile:1\n# Escape=`\n# check=skip=all\nFROM scratch\nRUN a `\n b\n",
        "Dockerfile",
    )
    .unwrap();
    assert_eq!(
        parsed.directives.syntax.as_deref(),
        Some("docker/dockerfile:1")
    );
    assert_eq!(parsed.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(parsed.directives.escape, '`');
    assert_eq!(parsed.stages[0].instructions[0].source, "RUN a  b");

    check_error(
        "# escape=x\nFROM a\n",
        "Dockerfile:1: invalid escape token 'x' does not match ` or \\",
    );
    check_error(
        "# escape=`\n# escape=`\nFROM a\n",
        "Dockerfile:2: only one escape parser directive can be used",
    );
    // After anything else it is a comment.
    let parsed = parse("# hello\n# escape=`\nFROM scratch\n", "Dockerfile").unwrap();
    assert_eq!(parsed.directives.escape, '\\');
}

#[test]
fn continuations_comments_and_blank_lines() {
    let parsed = parse(
        "\u{feff}FROM scratch\r\nRUN a \\  \n# comment\n\n  b \\\n  && c\nRUN d \\\\\nRUN e \\",
        "Dockerfile",
    )
    .unwrap();
    let sources: Vec<&str> = parsed.stages[0]
        .instructions
        .iter()
        .map(|node| node.source.as_str())
        .collect();
    assert_eq!(sources, ["RUN a   b   && c", "RUN d \\\\", "RUN e"]);
    assert_eq!(
        parsed.stages[0].instructions[0].span,
        Span { start: 2, end: 6 }
    );
    assert_eq!(parsed.warnings[0].rule, "NoEmptyContinuation");
}

#[test]
fn several_sources_for_what_looks_like_a_file_are_warned_of() {
    let rules = |line: &str| -> Vec<&str> {
        let parsed = parse(&format!("FROM a\n{line}\n"), "Dockerfile").unwrap();
        parsed.warnings.iter().map(|w| w.rule).collect()
    };
    assert_eq!(rules("COPY a b /x"), ["CopySeveralToFile"]);
    assert_eq!(rules("ADD a <<B /x\nB"), ["CopySeveralToFile"]);
    for line in ["COPY a /x", "COPY a b /x/", "COPY a b .", "COPY a b $D"] {
        assert_eq!(rules(line), [""; 0], "{line}");
    }
}

#[test]
fn long_lines_are_refused() {
    let long = format!("FROM scratch\nRUN {}\n", "x".repeat(65_535 - 4));
    assert!(parse(&long, "Dockerfile").is_ok());
    let longer = format!("FROM scratch\nRUN {}\n", "x".repeat(65_535 - 3));
    check_error(
        &longer,
        "Dockerfile:2: dockerfile line greater than max allowed size of 65535",
    );
    let huge = "x".repeat(DOCKERFILE_BYTES_MAX + 1);
    assert_eq!(
        parse(&huge, "Dockerfile").unwrap_err().kind,
        ErrorKind::TooLarge
    );
}

#[test]
fn heredocs() {
    let Kind::Run(run) = first("RUN <<-'EOT' sh\n\ta $b\n\tEOT") else {
        panic!();
    };
    assert_eq!(run.heredocs.len(), 1);
    assert_eq!(run.heredocs[0].name, "EOT");
    assert!(!run.heredocs[0].expand);
    assert_eq!(run.heredocs[0].content(), "a $b\n");

    let Kind::Copy(copy) = first("COPY <<A <<\"B\" x /d/\n1\nA\n2\nB") else {
        panic!();
    };
    assert_eq!(copy.sources, ["x"]);
    let contents: Vec<(&str, &str, bool)> = copy
        .contents
        .iter()
        .map(|doc| (doc.name.as_str(), doc.body.as_str(), doc.expand))
        .collect();
    assert_eq!(contents, [("A", "1\n", true), ("B", "2\n", false)]);

    // No document: a shift inside a word, a JSON form, an instruction without heredocs.
    assert!(matches!(first("RUN echo $((1<<2))"), Kind::Run(run) if run.heredocs.is_empty()));
    assert!(matches!(first("RUN [\"cat\", \"<<EOF\"]"), Kind::Run(run) if run.heredocs.is_empty()));
    assert!(matches!(first("CMD cat <<EOF"), Kind::Cmd(_)));

    let Kind::Onbuild(trigger) = first("ONBUILD RUN <<EOF\nx\nEOF") else {
        panic!();
    };
    assert_eq!(trigger, "RUN <<EOF\nx\nEOF");
    assert_eq!(
        first("ONBUILD  RUN  a  b \t"),
        Kind::Onbuild("RUN  a  b".to_owned())
    );
}

#[test]
fn forms_and_flags() {
    let Kind::Copy(copy) = first(
        "COPY --from=build --chown=\"a:b\" --chmod=644 --exclude=*.o --exclude=x [\"a b\", \"/c\"]",
    ) else {
        panic!();
    };
    assert_eq!(copy.sources, ["a b"]);
    assert_eq!(copy.destination, "/c");
    assert_eq!(copy.chown.as_deref(), Some("a:b"));
    assert_eq!(copy.exclude, ["*.o", "x"]);

    assert_eq!(
        first("CMD [\"a\", \"b\"]"),
        Kind::Cmd(CommandLine::Exec(vec!["a".to_owned(), "b".to_owned()]))
    );
    // Not JSON after all, so a command for the shell.
    assert_eq!(
        first("CMD [ -f x ]"),
        Kind::Cmd(CommandLine::Shell("[ -f x ]".to_owned()))
    );
    let Kind::Healthcheck(check) =
        first("HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=2 CMD [\"a\"]")
    else {
        panic!();
    };
    assert_eq!(check.test, ["CMD", "a"]);
    assert_eq!(check.interval_ns, 90_000_000_000);
    assert_eq!(check.timeout_ns, 1_500_000_000);
    assert_eq!(
        first("ARG a b=\"c d\""),
        Kind::Arg(vec![
            ArgPair {
                name: "a".to_owned(),
                value: None
            },
            ArgPair {
                name: "b".to_owned(),
                value: Some("\"c d\"".to_owned())
            }
        ])
    );
    assert_eq!(
        first("EXPOSE 90 80/udp"),
        Kind::Expose(vec!["80/udp".to_owned(), "90".to_owned()])
    );
}

#[test]
fn mounts() {
    let resolve = |text: &str| {
        let text = MountText::parse(text).unwrap();
        text.resolve(&mut |value| Ok(value.replace("$T", "/target")))
    };
    let cache = resolve("type=cache,target=$T,sharing=locked,uid=7,mode=0700").unwrap();
    assert_eq!(cache.kind, MountKind::Cache);
    assert_eq!(cache.target, "/target");
    assert_eq!(
        (cache.uid, cache.mode, cache.read_only),
        (Some(7), Some(0o700), false)
    );
    let bind = resolve("\"source=a,b\",target=/x,from=build").unwrap();
    assert_eq!((bind.source.as_str(), bind.read_only), ("a,b", true));
    assert_eq!(
        resolve("type=tmpfs,target=/x,size=1.5m")
            .unwrap()
            .size_bytes,
        1_572_864
    );

    for (text, message) in [
        (
            "type=bnd,target=/x",
            "unsupported mount type \"bnd\" (did you mean bind?)",
        ),
        (
            "type=bind,mode=1,target=/x",
            "mode not allowed for \"bind\" type mounts",
        ),
        (
            "type=bind,sharing=locked,target=/x",
            "invalid cache sharing set for bind mount",
        ),
        (
            "type=secret",
            "invalid secret mount. one of source, target required",
        ),
        (
            "type=bind,size=1,target=/x",
            "unexpected key 'size' for mount type 'bind'",
        ),
        (
            "type=bind,target",
            "invalid field 'target' must be a key=value pair",
        ),
        ("type=cache,uid=x,target=/x", "invalid value x for uid"),
    ] {
        assert_eq!(resolve(text).unwrap_err().message, message, "{text}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Text that looks enough like a Dockerfile to get past the first line.
    fn dockerfile_like() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("FROM scratch\n".to_owned()),
            Just("RUN ".to_owned()),
            Just("COPY --from=".to_owned()),
            Just("ENV A=".to_owned()),
            Just("<<EOF".to_owned()),
            Just("\nEOF\n".to_owned()),
            Just("${A:-".to_owned()),
            Just("\\\n".to_owned()),
            Just("[\"a\"]".to_owned()),
            Just("# escape=`\n".to_owned()),
            Just("ONBUILD ".to_owned()),
            Just("HEALTHCHECK --interval=1s CMD ".to_owned()),
            Just("--mount=type=bind,target=x ".to_owned()),
            ".{0,12}",
            "[ \t\n\"'\\\\$`=<>#-]{0,8}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn never_panics(text in dockerfile_like()) {
            if let Err(error) = parse(&text, "Dockerfile") {
                prop_assert!(!error.message.is_empty());
                prop_assert!(error.span.is_none_or(|span| span.start >= 1 && span.start <= span.end));
            }
        }

        #[test]
        fn a_shell_command_comes_back_as_written(command in "[a-z][a-zA-Z0-9 ./=$\"-]{0,40}[a-z]") {
            let text = format!("FROM scratch\nRUN {command}\n");
            let parsed = parse(&text, "Dockerfile").unwrap();
            let Kind::Run(run) = &parsed.stages[0].instructions[0].kind else { panic!() };
            prop_assert_eq!(&run.command, &CommandLine::Shell(command));
        }

        #[test]
        fn json_words_come_back(words in proptest::collection::vec(any::<String>(), 1..5)) {
            let json = serde_json::to_string(&words).unwrap();
            let text = format!("FROM scratch\nCMD {json}\n");
            let parsed = parse(&text, "Dockerfile").unwrap();
            let Kind::Cmd(command) = &parsed.stages[0].instructions[0].kind else { panic!() };
            prop_assert_eq!(command, &CommandLine::Exec(words));
        }

        #[test]
        fn reading_a_source_again_gives_the_same(text in dockerfile_like()) {
            let Ok(parsed) = parse(&text, "Dockerfile") else { return Ok(()) };
            // A joined line means what its continuations meant, unless it has
            // documents or ends in an escape of its own.
            for stage in &parsed.stages {
                for node in &stage.instructions {
                    let plain = !node.source.contains("<<") && !node.source.contains(['\\', '`']);
                    let short = node.source.len() < 60_000;
                    if plain && short && !matches!(node.kind, Kind::Maintainer(_)) {
                        let again = parse(&format!("FROM scratch\n{}\n", node.source), "Dockerfile").unwrap();
                        prop_assert_eq!(&again.stages[0].instructions[0].kind, &node.kind);
                    }
                }
            }
        }
    }
}
