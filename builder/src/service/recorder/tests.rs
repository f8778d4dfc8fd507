use super::decode;

fn check(pieces: &[&[u8]], expected: &[&str]) {
    let mut tail = Vec::new();
    let texts: Vec<String> = pieces
        .iter()
        .map(|piece| decode(&mut tail, piece))
        .collect();
    assert_eq!(texts, expected);
}

#[test]
fn characters_split_between_pieces_are_whole() {
    check(&[b"a\xc3", b"\xa9b"], &["a", "éb"]);
    check(&[b"\xf0\x9f", b"\x9a", b"\x80"], &["", "", "🚀"]);
}

#[test]
fn wrong_bytes_are_replaced_and_do_not_hold_up_the_rest() {
    check(&[b"a\xffb"], &["a\u{fffd}b"]);
    check(&[b"\xff\xc3", b"\xa9"], &["\u{fffd}", "é"]);
    check(&[b"\xc3\xc3", b"x"], &["\u{fffd}", "\u{fffd}x"]);
}
