use super::*;

fn check_keys(text: Option<&str>, expected: Option<&[u8]>) {
    assert_eq!(detach_keys(text).ok().as_deref(), expected, "{text:?}");
}

#[test]
fn detach_keys_parse() {
    check_keys(None, Some(&[16, 17]));
    check_keys(Some(""), Some(&[16, 17]));
    check_keys(Some("ctrl-a,b"), Some(&[1, b'b']));
    check_keys(Some("ctrl-\\"), Some(&[28]));
    check_keys(Some("ctrl-"), None);
    check_keys(Some("ctrl-1"), None);
}

fn scan(chunks: &[&[u8]], expected: (&[u8], bool)) {
    let mut scanner = KeyScanner::new(&[16, 17]);
    let mut all = Vec::new();
    let mut detached = false;
    for chunk in chunks {
        let (data, found) = scanner.pass(Bytes::copy_from_slice(chunk));
        all.extend_from_slice(&data);
        if found {
            detached = true;
            break;
        }
    }
    assert_eq!((&all[..], detached), expected, "{chunks:?}");
}

#[test]
fn keys_are_found_across_reads_and_never_lost() {
    scan(&[b"ab\x10\x11cd"], (b"ab", true));
    scan(&[b"ab\x10", b"\x11"], (b"ab", true));
    scan(&[b"ab\x10", b"c"], (b"ab\x10c", false));
    scan(&[b"\x10\x10\x11"], (b"\x10", true));
    scan(&[b"\x11\x10x"], (b"\x11\x10x", false));
}
