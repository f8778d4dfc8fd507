//! COPY: names, owners, modes, wildcards, what is ignored.

use crate::harness::{Bench, Context};

#[tokio::test(flavor = "multi_thread")]
async fn copies_land_where_docker_puts_them() {
    let bench = Bench::new().await;
    let context = Context::busybox(
        "RUN --network=none mkdir -p /etc /there && echo 'app:x:77:88::/:' > /etc/passwd && \
             echo 'web:x:99:' > /etc/group\n\
         COPY one /as-file\n\
         COPY one /into/\n\
         COPY one /there\n\
         COPY dir /dir-contents\n\
         COPY *.txt one /many/\n\
         COPY --chown=app:web one /owned\n\
         COPY --chown=app one /owned-own\n\
         COPY --chown=5:6 --chmod=4750 one /numbers\n\
         COPY --chown=:6 one /group\n\
         COPY --chmod=u=rwX,go=rX dir /symbolic\n\
         COPY link /followed\n\
         COPY nothing*here /none/\n\
         RUN --network=none find / -xdev -path /bin -prune -o -path /proc -prune -o -path /dev -prune \
             -o -path /sys -prune -o -path /etc -prune -o -type f -print -o -type l -print | sort | \
             xargs stat -c '%n %a %u:%g %F'\n",
    )
    .file("one", b"1")
    .file("b.txt", b"b")
    .file("c.txt", b"c")
    .dir("dir")
    .file("dir/in", b"in")
    .mode(0o700)
    .dir("dir/sub")
    .file("dir/sub/deep", b"deep")
    .link("dir/sub/l", "deep")
    .link("link", "one");
    let outcome = bench.build(context).await.succeeded();
    let found: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.split_once(" /").map(|(_, rest)| rest))
        .filter(|line| line.contains(" file") || line.contains(" link"))
        .collect();
    let expected = [
        "as-file 644 0:0 regular file",
        "dir-contents/in 700 0:0 regular file",
        "dir-contents/sub/deep 644 0:0 regular file",
        "dir-contents/sub/l 777 0:0 symbolic link",
        "followed 644 0:0 regular file",
        "group 644 0:6 regular file",
        "into/one 644 0:0 regular file",
        "many/b.txt 644 0:0 regular file",
        "many/c.txt 644 0:0 regular file",
        "many/one 644 0:0 regular file",
        "numbers 4750 5:6 regular file",
        "owned 644 77:99 regular file",
        "owned-own 644 77:88 regular file",
        "symbolic/in 755 0:0 regular file",
        "symbolic/sub/deep 644 0:0 regular file",
        "symbolic/sub/l 777 0:0 symbolic link",
        "there/one 644 0:0 regular file",
    ];
    assert_eq!(found, expected, "{}", outcome.log);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_files_are_not_there() {
    let bench = Bench::new().await;
    let context =
        Context::busybox("COPY . /all/\nRUN --network=none cd /all && find . -type f | sort\n")
            .file(
                ".dockerignore",
                b"busybox\nsecret*\nkept/*\n!kept/yes\nDockerfile\n",
            )
            .file("secret.key", b"s")
            .dir("kept")
            .file("kept/yes", b"y")
            .file("kept/no", b"n");
    // The file that the Dockerfile copies is ignored: an error that names it.
    let outcome = bench.build(context).await;
    assert!(
        outcome.failure().contains("\"/busybox\": not found"),
        "{}",
        outcome.failure()
    );

    let context =
        Context::busybox("COPY . /all/\nRUN --network=none cd /all && find . -type f | sort\n")
            .file(".dockerignore", b"secret*\nkept/*\n!kept/yes\nDockerfile\n")
            .file("secret.key", b"s")
            .dir("kept")
            .file("kept/yes", b"y")
            .file("kept/no", b"n");
    let outcome = bench.build(context).await.succeeded();
    let found: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.split_once(" ./").map(|(_, rest)| rest))
        .collect();
    let expected = [".dockerignore", "busybox", "kept/yes"];
    assert_eq!(found, expected, "{}", outcome.log);
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named() {
    let bench = Bench::new().await;
    let check = |dockerfile: &'static str, expected: &'static str| {
        let bench = &bench;
        async move {
            let outcome = bench.build(Context::busybox(dockerfile)).await;
            assert!(
                outcome.failure().contains(expected),
                "{}",
                outcome.failure()
            );
            let error = outcome.build.error.clone().unwrap();
            assert_eq!(error.line, Some(Context::LINES + 1), "{error:?}");
        }
    };
    check("COPY missing /x\n", "\"/missing\": not found").await;
    check(
        "COPY --chown=nobody busybox /x\n",
        "unable to find user nobody",
    )
    .await;
    check(
        "COPY --from=scratch /nowhere /x\n",
        "\"/nowhere\": not found",
    )
    .await;
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn add_unpacks_archives_and_copies_other_files() {
    let bench = Bench::new().await;
    let inner = Context::default()
        .dir("d")
        .file("d/in", b"in")
        .link("d/abs", "/canary");
    let gzip = |bytes: &[u8]| {
        let mut encoder = std::process::Command::new("gzip")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut encoder.stdin.take().unwrap(), bytes).unwrap();
        encoder.wait_with_output().unwrap().stdout
    };
    let escape = Context::default().link("l", "/").file("../out", b"x");
    let context = Context::busybox(
        "ADD plain.tar packed.tgz /un/\nADD notes.gz /notes/\nCOPY plain.tar /kept/\n\
         RUN --network=none cd / && find un notes kept -type f | sort | xargs stat -c './%n %u:%g'\n",
    )
    .file("plain.tar", &inner.tar())
    .file("packed.tgz", &gzip(&Context::default().file("packed", b"p").tar()))
    .file("notes.gz", &gzip(b"only text"));
    let outcome = bench.build(context).await.succeeded();
    let found: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.split_once(" ./").map(|(_, rest)| rest))
        .filter(|line| !line.contains("%n"))
        .collect();
    let expected = [
        "kept/plain.tar 0:0",
        "notes/notes.gz 0:0",
        "un/d/in 1234:1234",
        "un/packed 1234:1234",
    ];
    assert_eq!(found, expected, "{}", outcome.log);

    let context = Context::busybox("ADD evil.tar /un/\n").file("evil.tar", &escape.tar());
    let outcome = bench.build(context).await;
    assert!(
        outcome.failure().contains("is refused"),
        "{}",
        outcome.failure()
    );
    bench.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerfiles_of_one_context_have_ignore_files_of_their_own() {
    let bench = Bench::new().await;
    let dockerfile = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\n\
                      COPY files /all\n\
                      RUN --network=none [\"/bin/busybox\", \"ls\", \"/all\"]\n";
    let context = Context::busybox("")
        .file("files/kept", b"k")
        .file("files/secret", b"s")
        .file("a.Dockerfile", dockerfile.as_bytes())
        .file("b.Dockerfile", dockerfile.as_bytes())
        .file("b.Dockerfile.dockerignore", b"files/secret\n");
    for (name, expected) in [("a", true), ("b", false)] {
        let query = format!("dockerfile={name}.Dockerfile");
        let outcome = bench.build_with(&query, context.clone()).await.succeeded();
        assert!(outcome.log.contains("kept"), "{name}: {}", outcome.log);
        let secret = outcome.log.contains("secret");
        assert_eq!(secret, expected, "{name}: {}", outcome.log);
    }
    bench.check_nothing_left().await;
}

/// As BuildKit and the classic builder have it: a destination is followed, what
/// lies in a directory is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_a_link_is_followed() {
    let bench = Bench::new().await;
    let context = Context::busybox(
        "RUN --network=none mkdir -p /r /in && ln -s /r/abs /abs && ln -s ../r/rel /in/rel && \
             ln -s new/deep /deep && ln -s /r /dir && ln -s /canary /in/one && ln -s loop /loop\n\
         COPY one /abs\n\
         COPY one /in/rel\n\
         COPY one /deep\n\
         COPY d /dir\n\
         COPY one /in/\n\
         RUN --network=none find /r /in /abs /deep /dir /new /canary -not -type d 2>&1 | sort | \
             sed 's/^/./'\n",
    )
    .file("one", b"1")
    .file("d/two", b"2");
    let outcome = bench.build(context.clone()).await.succeeded();
    let found: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.split_once(" ./").map(|(_, rest)| rest))
        .collect();
    let expected = [
        "abs", "deep", "dir", "in/one", "in/rel", "new/deep", "r/abs", "r/rel", "r/two",
    ];
    assert_eq!(found, expected, "{}", outcome.log);

    let context = Context::busybox("RUN --network=none ln -s loop /loop\nCOPY busybox /loop\n");
    let outcome = bench.build(context).await;
    let message = outcome.failure();
    assert!(message.contains("too many links"), "{message}");
    bench.check_nothing_left().await;
}
