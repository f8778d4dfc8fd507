use std::process::{Command, Stdio};

use super::*;

fn entry(path: &str, mode: u32, mtime: i64, kind: Kind, size_bytes: u64) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime,
        size_bytes,
    }
}

fn list(archive: &[u8], args: &[&str]) -> String {
    let mut child = Command::new("tar")
        .args(args)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(archive).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn sample() -> Vec<u8> {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let target = "t".repeat(150);
    let mut tar = Writer::new(Vec::new());
    for entry in [
        entry("dir", 0o755, 0, Kind::Directory, 0),
        entry("dir/a", 0o100_644, 1_700_000_000, Kind::File, 3),
        entry("dir/empty", 0o4_755, -5, Kind::File, 0),
        entry(&long, 0o600, 1, Kind::File, 3),
        entry("link", 0o777, 1, Kind::Symlink("dir/a".into()), 0),
        entry("far", 0o777, 1, Kind::Symlink(target.into()), 0),
        entry("ünï", 0o644, 1, Kind::File, 3),
    ] {
        tar.append(&entry, b"abc".as_slice()).unwrap();
    }
    tar.finish().unwrap()
}

#[test]
fn gnu_tar_reads_it() {
    let archive = sample();
    assert_eq!(archive.len() % BLOCK_BYTES, 0);
    let listing = list(&archive, &["--quoting-style=literal", "-tvf", "-"]);
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let expected = [
        "drwxr-xr-x 0/0               0 1970-01-01 00:00 dir/".to_owned(),
        "-rw-r--r-- 0/0               3 2023-11-14 22:13 dir/a".to_owned(),
        "-rwsr-xr-x 0/0               0 1970-01-01 00:00 dir/empty".to_owned(),
        format!("-rw------- 0/0               3 1970-01-01 00:00 {long}"),
        "lrwxrwxrwx 0/0               0 1970-01-01 00:00 link -> dir/a".to_owned(),
        format!(
            "lrwxrwxrwx 0/0               0 1970-01-01 00:00 far -> {}",
            "t".repeat(150)
        ),
        "-rw-r--r-- 0/0               3 1970-01-01 00:00 ünï".to_owned(),
    ];
    assert_eq!(listing.lines().collect::<Vec<_>>(), expected);
    assert_eq!(list(&archive, &["-xOf", "-", "dir/a"]), "abc");
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    assert_eq!(sample(), sample());
}

#[test]
fn a_record_counts_its_own_length() {
    for value in ["x", &"x".repeat(88), &"x".repeat(89), &"x".repeat(990)] {
        let mut records = Vec::new();
        record(&mut records, "path", value.as_bytes());
        let text = String::from_utf8(records.clone()).unwrap();
        let (length, rest) = text.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), records.len());
        assert_eq!(rest, format!("path={value}\n"));
    }
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let entry = entry("a", 0o644, 0, Kind::File, 10);
    let result = Writer::new(Vec::new()).append(&entry, b"abc".as_slice());
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn sizes_over_the_octal_limit_go_into_a_record() {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            // Far enough: the header is written.
            if self.0 > 4 * BLOCK_BYTES as u64 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let entry = entry("big", 0o644, 0, Kind::File, OCTAL_SIZE_MAX + 1);
    let result = Writer::new(Count(0)).append(&entry, io::repeat(0));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
}
