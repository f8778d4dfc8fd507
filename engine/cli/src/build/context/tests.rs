use std::{os::unix::fs::symlink, process::Command};

use tempfile::TempDir;

use super::*;

/// A directory with the given files; a path that ends in `/` is a directory.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.as_os_str().as_bytes().ends_with(b"/") {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::write(path, content).unwrap();
        }
    }
    dir
}

fn names(context: &Context) -> Vec<String> {
    let archive = tempfile::NamedTempFile::new().unwrap();
    context.write(archive.as_file()).unwrap();
    let output = Command::new("tar")
        .arg("-tf")
        .arg(archive.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn open(dir: &TempDir, file: Option<&str>) -> Result<Context, CliError> {
    Context::open(dir.path(), file.map(Path::new), dir.path())
}

#[test]
fn sends_what_is_not_ignored() {
    let dir = tree(&[
        ("Dockerfile", "FROM scratch"),
        (
            ".dockerignore",
            "target\n*.log\nDockerfile\n.dockerignore\nempty\n!target/keep/x",
        ),
        ("src/main.rs", ""),
        ("src/a.log", ""),
        ("x.log", ""),
        ("target/debug/y", ""),
        ("target/keep/x", ""),
        ("target/keep/z", ""),
        ("void/", ""),
        ("empty/", ""),
    ]);
    symlink("src/main.rs", dir.path().join("link")).unwrap();
    let context = open(&dir, None).unwrap();
    assert_eq!(context.dockerfile, "Dockerfile");
    // The Dockerfile and the ignore file always come along.
    assert_eq!(
        names(&context),
        [
            ".dockerignore",
            "Dockerfile",
            "link",
            "src/",
            "src/a.log",
            "src/main.rs",
            "target/",
            "target/keep/",
            "target/keep/x",
            "void/",
        ]
    );
}

#[test]
fn a_dockerfiles_own_ignore_file_replaces_the_general_one() {
    let dir = tree(&[
        ("docker/web.Dockerfile", "FROM scratch"),
        ("docker/web.Dockerfile.dockerignore", "a"),
        (".dockerignore", "b"),
        ("a", ""),
        ("b", ""),
    ]);
    let context = open(&dir, Some("docker/web.Dockerfile")).unwrap();
    assert_eq!(context.dockerfile, "docker/web.Dockerfile");
    assert_eq!(
        names(&context),
        [
            ".dockerignore",
            "b",
            "docker/",
            "docker/web.Dockerfile",
            "docker/web.Dockerfile.dockerignore",
        ]
    );
}

#[test]
fn a_dockerfile_from_elsewhere_comes_along() {
    let outside = tree(&[("D", "FROM scratch"), ("D.dockerignore", "a")]);
    let dir = tree(&[("a", ""), ("b", "")]);
    let path = outside.path().join("D");
    let context = Context::open(dir.path(), Some(&path), dir.path()).unwrap();
    assert_eq!(context.dockerfile, ".carrack.Dockerfile");
    assert_eq!(
        names(&context),
        [
            ".carrack.Dockerfile",
            ".carrack.Dockerfile.dockerignore",
            "b"
        ]
    );
    let context =
        Context::with_dockerfile(dir.path(), b"FROM scratch".to_vec(), dir.path()).unwrap();
    assert_eq!(
        names(&context),
        [
            ".carrack.Dockerfile",
            ".carrack.Dockerfile.dockerignore",
            "a",
            "b"
        ]
    );
    // By this the service keeps both from COPY.
    let (_, patterns) = &context.extra[1];
    let ignore = Ignore::parse(std::str::from_utf8(patterns).unwrap()).unwrap();
    assert!(ignore.is_ignored(".carrack.Dockerfile"));
    assert!(ignore.is_ignored(".carrack.Dockerfile.dockerignore"));
    assert!(!ignore.is_ignored("a"));
}

#[test]
fn sockets_are_left_out_and_told() {
    let dir = tree(&[("Dockerfile", "FROM scratch")]);
    let path = dir.path().join("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let context = open(&dir, None).unwrap();
    let skipped = context.write(io::sink()).unwrap();
    assert_eq!(skipped.0.len(), 1);
    assert!(skipped.0[0].ends_with("sock"));
}

#[test]
fn mistakes_are_told() {
    let dir = tree(&[("a", "")]);
    let error = |result: Result<Context, CliError>| result.unwrap_err().to_string();
    assert!(error(open(&dir, None)).starts_with("there is no Dockerfile in "));
    assert!(error(open(&dir, Some("x"))).starts_with("cannot open Dockerfile x: "));
    let nowhere = Context::open(Path::new("/nowhere"), None, dir.path());
    assert!(error(nowhere).starts_with("cannot open context /nowhere: "));
    let file = Context::open(&dir.path().join("a"), None, dir.path());
    assert!(error(file).contains("is not a directory"));
    let dir = tree(&[("Dockerfile", ""), (".dockerignore", "ok\n[")]);
    assert!(error(open(&dir, None)).contains(".dockerignore: line 2: syntax error in pattern"));
}
