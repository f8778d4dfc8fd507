use proptest::prelude::*;

use super::*;

fn frame(stream: StreamKind, payload: &[u8]) -> Vec<u8> {
    let header = Frame {
        stream,
        len_bytes: u32::try_from(payload.len()).unwrap(),
    };
    [&header.to_bytes()[..], payload].concat()
}

#[test]
fn splits_by_stream() {
    let input = [
        frame(StreamKind::Stdout, b"out"),
        frame(StreamKind::Stderr, b""),
        frame(StreamKind::Stderr, b"err"),
    ]
    .concat();
    let mut demux = Demux::default();
    assert_eq!(
        demux.push(&input).unwrap(),
        [
            (StreamKind::Stdout, &b"out"[..]),
            (StreamKind::Stderr, &b"err"[..])
        ]
    );
    assert!(demux.is_at_boundary());
}

#[test]
fn a_cut_frame_is_not_a_boundary_and_an_unknown_stream_an_error() {
    let mut demux = Demux::default();
    assert_eq!(
        demux
            .push(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'])
            .unwrap()
            .len(),
        1
    );
    assert!(!demux.is_at_boundary());
    assert_eq!(Demux::default().push(&[9; 8]), Err(FrameError(9)));
}

proptest! {
    #[test]
    fn every_cut_gives_the_same_bytes(
        payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in 1_usize..13,
    ) {
        let mut input = Vec::new();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for (is_err, payload) in &payloads {
            let (kind, sink) = if *is_err { (StreamKind::Stderr, &mut err) } else { (StreamKind::Stdout, &mut out) };
            input.extend(frame(kind, payload));
            sink.extend_from_slice(payload);
        }
        let mut demux = Demux::default();
        let (mut got_out, mut got_err) = (Vec::new(), Vec::new());
        for chunk in input.chunks(cut) {
            for (kind, piece) in demux.push(chunk).unwrap() {
                match kind {
                    StreamKind::Stderr => got_err.extend_from_slice(piece),
                    _ => got_out.extend_from_slice(piece),
                }
            }
        }
        prop_assert!(demux.is_at_boundary());
        prop_assert_eq!(got_out, out);
        prop_assert_eq!(got_err, err);
    }
}
