use proptest::prelude::*;

use super::*;

fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, kind, payload);
    out
}

#[test]
fn a_frame_is_whole_or_absent() {
    let bytes = frame(Kind::Stdout, b"hello");
    for cut in 0..bytes.len() {
        assert_eq!(first(&bytes[..cut]).unwrap(), None, "at {cut}");
    }
    assert_eq!(first(&bytes).unwrap(), Some((Kind::Stdout, 5)));
    assert_eq!(
        read(&mut &bytes[..]).unwrap(),
        Some((Kind::Stdout, b"hello".to_vec()))
    );
    assert!(read(&mut &bytes[..9]).is_err());
    assert_eq!(read(&mut &bytes[..0]).unwrap(), None);
}

#[test]
fn unknown_kinds_and_huge_lengths_are_refused() {
    assert!(first(&[200, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(first(&[68, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some((kind, length))) = first(&bytes) {
            prop_assert_eq!(&frame(kind, &bytes[8..8 + length])[8..], &bytes[8..8 + length]);
        }
    }
}
