use proptest::prelude::*;

use super::*;

#[test]
fn keys_are_read() {
    for (text, expected) in [
        ("ctrl-p,ctrl-q", Some(vec![16, 17])),
        ("ctrl-@", Some(vec![0])),
        ("ctrl-[,a,DEL", Some(vec![27, b'a', 127])),
        ("ctrl-_", Some(vec![31])),
        ("", None),
        ("ctrl-", None),
        ("ctrl-P", None),
        ("ab", None),
        ("a,,b", None),
    ] {
        assert_eq!(parse_keys(text).ok(), expected, "{text}");
    }
}

#[track_caller]
fn check(keys: &[u8], inputs: &[&[u8]], pass: &[u8], detached: bool) {
    let mut filter = DetachFilter::new(keys.to_vec());
    let mut got = Vec::new();
    let mut left = false;
    for input in inputs {
        let filtered = filter.push(input);
        got.extend(filtered.pass);
        left |= filtered.detached;
    }
    assert_eq!((got.as_slice(), left), (pass, detached));
}

#[test]
fn the_sequence_is_found_across_reads_and_false_starts_pass() {
    check(&[16, 17], &[b"ls\n"], b"ls\n", false);
    check(&[16, 17], &[&[16], &[17]], b"", true);
    check(&[16, 17], &[&[b'a', 16, 17, b'b']], b"a", true);
    check(&[16, 17], &[&[16, b'x']], &[16, b'x'], false);
    check(&[16, 17], &[&[16, 16, 17]], &[16], true);
    check(b"aab", &[b"aaab"], b"a", true);
    check(b"abac", &[b"ababac"], b"ab", true);
    check(&[], &[b"abc"], b"abc", false);
}

proptest! {
    #[test]
    fn nothing_is_lost_without_the_sequence(input in prop::collection::vec(0_u8..4, 0..40), cut in 1_usize..7) {
        let keys = [1, 2, 1, 3];
        prop_assume!(!input.windows(4).any(|w| w == keys));
        let mut filter = DetachFilter::new(keys.to_vec());
        let mut got = Vec::new();
        for chunk in input.chunks(cut) {
            let filtered = filter.push(chunk);
            prop_assert!(!filtered.detached);
            got.extend(filtered.pass);
        }
        // What is held back is a beginning of the sequence.
        got.extend_from_slice(&keys[..filter.matched]);
        prop_assert_eq!(got, input);
    }
}
