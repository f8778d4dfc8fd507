use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-25 02:03:04.000000005 UTC);

fn log(dir: &Path, max_bytes: u64, max_files: u32) -> Log {
    let path = dir.join("c.log");
    Log::open(&LogSpec::JsonFile {
        path,
        max_bytes,
        max_files,
    })
    .unwrap()
}

fn texts(file: &Path) -> Vec<String> {
    let content = std::fs::read_to_string(file).unwrap();
    let parse = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    content
        .lines()
        .map(parse)
        .map(|v| v["log"].as_str().unwrap().to_owned())
        .collect()
}

fn check(parts: &[&[u8]], expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), 1 << 30, 2);
    for part in parts {
        log.write(Stream::Stdout, part, NOW);
    }
    log.finish(NOW);
    assert_eq!(texts(&dir.path().join("c.log")), expected);
}

#[test]
fn a_record_is_dockers() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), 1 << 30, 2);
    log.write(Stream::Stderr, b"a \"b\" \\ <&> \x01\tz\xff\n", NOW);
    log.flush();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("c.log")).unwrap(),
        "{\"log\":\"a \\\"b\\\" \\\\ \\u003c\\u0026\\u003e \\u0001\\tz\\ufffd\\n\",\
         \"stream\":\"stderr\",\"time\":\"2026-11-25T02:03:04.000000005Z\"}\n"
    );
}

#[test]
fn output_is_cut_at_newlines_and_at_16_kib() {
    check(&[b"one\ntwo\n"], &["one\n", "two\n"]);
    check(&[b"on", b"e\ntw", b"o"], &["one\n", "two"]);
    let long = "x".repeat(40_000);
    let (a, b) = ("x".repeat(16_384), "x".repeat(40_000 - 32_768));
    check(&[long.as_bytes(), b"\n"], &[&a, &a, &format!("{b}\n")]);
}

#[test]
fn files_rotate_by_size_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), 140, 3);
    for n in 0..10 {
        log.write(Stream::Stdout, format!("{n}\n").as_bytes(), NOW);
        log.flush();
    }
    let files = ["c.log", "c.log.1", "c.log.2"].map(|f| texts(&dir.path().join(f)).join(""));
    assert_eq!(files, ["8\n9\n", "6\n7\n", "4\n5\n"]);
    assert!(!dir.path().join("c.log.3").exists());
}

#[test]
fn a_single_file_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), 100, 1);
    for n in 0..5 {
        log.write(Stream::Stdout, format!("{n}\n").as_bytes(), NOW);
        log.flush();
    }
    assert_eq!(texts(&dir.path().join("c.log")), ["4\n"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn any_text_comes_back(text in "(?s).{0,200}", cut in 0..200_usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 30, 2);
        let bytes = text.as_bytes();
        let cut = cut.min(bytes.len());
        log.write(Stream::Stdout, &bytes[..cut], NOW);
        log.write(Stream::Stdout, &bytes[cut..], NOW);
        log.finish(NOW);
        prop_assert_eq!(texts(&dir.path().join("c.log")).concat(), text);
    }
}
