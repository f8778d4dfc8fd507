use std::io::Write;

use super::*;

fn line(text: &str, second: u8, stream: &str) -> String {
    format!(
        "{{\"log\":{},\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:{second:02}.000000000Z\"}}\n",
        serde_json::to_string(text).unwrap()
    )
}

fn all() -> LogQuery {
    LogQuery {
        stdout: true,
        stderr: true,
        ..Default::default()
    }
}

fn texts(reader: &mut LogReader) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let batch = reader.batch(100).unwrap();
        if batch.is_empty() {
            return found;
        }
        found.extend(
            batch
                .into_iter()
                .map(|r| String::from_utf8(r.data).unwrap()),
        );
    }
}

/// A log of five records over three files.
fn rotated_log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.log");
    std::fs::write(rotated(&path, 2), line("1", 1, "stdout")).unwrap();
    std::fs::write(
        rotated(&path, 1),
        line("2", 2, "stderr") + &line("3", 3, "stdout"),
    )
    .unwrap();
    std::fs::write(&path, line("4", 4, "stdout") + &line("5", 5, "stdout")).unwrap();
    (dir, path)
}

fn check(query: LogQuery, expected: &[&str]) {
    let (_dir, path) = rotated_log();
    let mut reader = LogReader::open(&path, query.clone()).unwrap();
    assert_eq!(texts(&mut reader), expected, "{query:?}");
}

#[test]
fn queries_select_over_rotated_files() {
    let at = |second: u8| clock::parse_rfc3339(&format!("2026-01-01T00:00:{second:02}Z"));
    check(all(), &["1", "2", "3", "4", "5"]);
    check(
        LogQuery {
            tail: Some(0),
            ..all()
        },
        &[],
    );
    check(
        LogQuery {
            tail: Some(1),
            ..all()
        },
        &["5"],
    );
    check(
        LogQuery {
            tail: Some(3),
            ..all()
        },
        &["3", "4", "5"],
    );
    check(
        LogQuery {
            tail: Some(4),
            ..all()
        },
        &["2", "3", "4", "5"],
    );
    check(
        LogQuery {
            tail: Some(99),
            ..all()
        },
        &["1", "2", "3", "4", "5"],
    );
    check(
        LogQuery {
            stdout: false,
            ..all()
        },
        &["2"],
    );
    check(
        LogQuery {
            since: at(4),
            ..all()
        },
        &["4", "5"],
    );
    check(
        LogQuery {
            until: at(2),
            ..all()
        },
        &["1", "2"],
    );
}

#[test]
fn a_tail_reaches_over_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.log");
    let long = "x".repeat(50_000);
    let mut text = String::new();
    for _ in 0..5 {
        text += &line(&long, 1, "stdout");
    }
    std::fs::write(&path, text + &line("end", 2, "stdout")).unwrap();
    let mut reader = LogReader::open(
        &path,
        LogQuery {
            tail: Some(3),
            ..all()
        },
    )
    .unwrap();
    assert_eq!(texts(&mut reader), [long.as_str(), long.as_str(), "end"]);
}

#[test]
fn a_follower_survives_rotation_and_unfinished_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.log");
    let mut reader = LogReader::open(&path, all()).unwrap();
    assert_eq!(texts(&mut reader), [""; 0]);
    let mut file = File::create(&path).unwrap();
    let whole = line("a", 1, "stdout");
    file.write_all(&whole.as_bytes()[..10]).unwrap();
    assert_eq!(texts(&mut reader), [""; 0]);
    file.write_all(&whole.as_bytes()[10..]).unwrap();
    assert_eq!(texts(&mut reader), ["a"]);
    // Written just before two rotations, read after them.
    file.write_all(line("b", 2, "stdout").as_bytes()).unwrap();
    std::fs::rename(&path, rotated(&path, 1)).unwrap();
    std::fs::write(&path, line("c", 3, "stdout")).unwrap();
    std::fs::rename(rotated(&path, 1), rotated(&path, 2)).unwrap();
    std::fs::rename(&path, rotated(&path, 1)).unwrap();
    std::fs::write(&path, line("d", 4, "stdout")).unwrap();
    assert_eq!(texts(&mut reader), ["b", "c", "d"]);
}

#[test]
fn damaged_lines_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.log");
    let text = format!("garbage\n{{\"log\":1}}\n\n{}", line("a", 1, "stdout"));
    std::fs::write(&path, text).unwrap();
    let mut reader = LogReader::open(&path, all()).unwrap();
    assert_eq!(texts(&mut reader), ["a"]);
}
