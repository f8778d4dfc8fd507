use std::os::fd::AsFd;

use proptest::prelude::*;

use super::{
    attribute::{Attributes, find, read_text, read_u32},
    link::{Link, Veth},
    message::{DecodeError, EncodeError, Frame, Message, Messages, flags},
    *,
};

/// A tree of attributes, as requests have it.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Leaf(u16, Vec<u8>),
    Nest(u16, Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let kind = 0_u16..0x3fff;
    let leaf = (kind.clone(), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, value)| Tree::Leaf(kind, value));
    leaf.prop_recursive(4, 32, 6, move |inner| {
        (kind.clone(), prop::collection::vec(inner, 0..6))
            .prop_map(|(kind, children)| Tree::Nest(kind, children))
    })
}

fn write(message: &mut Message, tree: &Tree) {
    match tree {
        Tree::Leaf(kind, value) => message.put(*kind, value),
        Tree::Nest(kind, children) => message.nest(*kind, |message| {
            for child in children {
                write(message, child);
            }
        }),
    }
}

/// Reads back along the shape of what was written, since bytes do not tell.
fn matches(bytes: &[u8], trees: &[Tree]) -> bool {
    let read: Result<Vec<_>, _> = Attributes::new(bytes).collect();
    let read = read.unwrap();
    read.len() == trees.len()
        && read
            .into_iter()
            .zip(trees)
            .all(|((kind, value), tree)| match tree {
                Tree::Leaf(expected, content) => kind == *expected && value == content,
                Tree::Nest(expected, children) => kind == *expected && matches(value, children),
            })
}

proptest! {
    #[test]
    fn written_attributes_read_back(
        trees in prop::collection::vec(tree(), 0..8),
        kind: u16,
        sequence: u32,
        fixed in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut message = Message::new(kind, flags::REQUEST, &fixed);
        for tree in &trees {
            write(&mut message, tree);
        }
        let bytes = message.finish(sequence).unwrap();
        prop_assert_eq!(bytes.len() % 4, 0);
        let frames: Vec<_> = Messages::new(&bytes).collect::<Result<_, _>>().unwrap();
        let [Frame { kind: read_kind, sequence: read_sequence, payload, .. }] = frames[..] else {
            panic!("one message, not {frames:?}");
        };
        prop_assert_eq!((read_kind, read_sequence), (kind, sequence));
        prop_assert_eq!(&payload[..fixed.len()], &fixed[..]);
        let attributes = payload.get(fixed.len().next_multiple_of(4)..).unwrap_or_default();
        prop_assert!(matches(attributes, &trees));
    }

    /// Whatever the bytes, reading ends and does not panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for frame in Messages::new(&bytes).flatten() {
            for (_, value) in Attributes::new(frame.payload).flatten() {
                let _ = Attributes::new(value).count();
            }
        }
        let _ = Attributes::new(&bytes).count();
        let _ = Link::parse(&bytes);
    }

    /// A message cut anywhere is noticed.
    #[test]
    fn cut_messages_are_refused(value in prop::collection::vec(any::<u8>(), 1..40), cut in 1_usize..16) {
        let mut message = Message::new(1, 0, &[]);
        message.put(1, &value);
        let bytes = message.finish(0).unwrap();
        let frame = Messages::new(&bytes[..bytes.len() - cut]).next().unwrap();
        prop_assert!(frame.is_err());
    }
}

#[test]
fn message_has_the_kernels_layout() {
    let mut message = Message::new(0x1234, flags::REQUEST, &[9]);
    message.put_text(3, "lo");
    message.nest(18, |info| info.put_u8(1, 7));
    message.acknowledge();
    let bytes = message.finish(0x0102_0304).unwrap();
    #[rustfmt::skip]
    let expected = [
        40, 0, 0, 0,  0x34, 0x12,  0x05, 0,  4, 3, 2, 1,  0, 0, 0, 0, // header
        9, 0, 0, 0, // fixed part
        7, 0, 3, 0,  b'l', b'o', 0, 0, // text with NUL, padded
        12, 0, 18, 0x80,  5, 0, 1, 0,  7, 0, 0, 0, // nested flag
    ];
    assert_eq!(bytes, expected);
}

/// CVE-2021-43784: a length that wraps lets a value be read as attributes.
#[test]
fn value_beyond_the_length_field_is_refused() {
    let mut message = Message::new(1, 0, &[]);
    message.put(5, &[0; 65_531]);
    assert!(message.clone().finish(0).is_ok());
    message.put(6, &[0; 65_532]);
    assert_eq!(message.finish(0), Err(EncodeError::TooLong { kind: 6 }));

    let mut message = Message::new(1, 0, &[]);
    message.nest(7, |outer| {
        outer.put(1, &[0; 40_000]);
        outer.put(2, &[0; 40_000]);
    });
    assert_eq!(message.finish(0), Err(EncodeError::TooLong { kind: 7 }));
}

#[test]
fn damaged_lengths_are_refused() {
    let check = |bytes: &[u8], expected: DecodeError| {
        let read: Result<Vec<_>, _> = Attributes::new(bytes).collect();
        assert_eq!(read.unwrap_err(), expected);
    };
    check(&[3, 0, 1, 0], DecodeError::BadLength(3));
    check(&[8, 0, 1, 0, 0], DecodeError::Short { have: 5, want: 8 });
    check(&[8, 0, 1], DecodeError::Short { have: 3, want: 4 });
    let mut header = [0; 16];
    header[0] = 15;
    assert_eq!(
        Messages::new(&header).next(),
        Some(Err(DecodeError::BadLength(15)))
    );
}

#[test]
fn links_are_listed_and_found() {
    let mut route = Route::open().unwrap();
    let loopback = route.link("lo").unwrap().unwrap();
    assert_eq!((loopback.index, loopback.kind.as_deref()), (1, None));
    assert!(route.links().unwrap().contains(&loopback));
    assert_eq!(route.link("no-such-link").unwrap(), None);
}

#[test]
fn refusal_carries_the_kernels_words() {
    let workshop = crate::netns::Workshop::open().unwrap();
    workshop
        .make(|netns, inside| {
            let veth = Veth {
                host_name: "v0",
                bridge: 99_999,
                mtu: 1500,
                peer_name: "eth0",
                peer_netns: netns.as_fd(),
                peer_mac: [2, 0, 0, 0, 0, 1],
            };
            let error = inside.add_veth(&veth).unwrap_err();
            assert_eq!(error.errno(), Some(rustix::io::Errno::INVAL));
            let error = inside.configure(1, [10, 0, 0, 1].into(), 24, [192, 0, 2, 1].into());
            assert_eq!(
                error.unwrap_err().to_string(),
                "kernel refused netlink message 2 (Nexthop has invalid gateway)"
            );
            Ok::<_, crate::netns::NetnsError>(())
        })
        .unwrap();
}

#[test]
fn attribute_helpers() {
    let mut message = Message::new(1, 0, &[]);
    message.put_u32(1, 7);
    message.put_be_u32(2, 7);
    message.put_text(3, "x");
    let bytes = message.finish(0).unwrap();
    let get = |kind| find(Attributes::new(&bytes[16..]), kind).unwrap();
    assert_eq!(get(1).and_then(read_u32), Some(7));
    assert_eq!(get(2).and_then(read_be_u32), Some(7));
    assert_eq!(get(3).and_then(read_text), Some("x"));
    assert_eq!(get(4), None);
    assert_eq!(read_u32(&[1]), None);
}
