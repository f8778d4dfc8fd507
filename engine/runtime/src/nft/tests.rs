use super::{
    batch::{Batch, Chain, ChainKind, DataType, Element, Hook, Set},
    dump::table_of_event,
    expression::{Expression, Operator, PayloadBase, Register, meta},
    *,
};
use crate::netlink::Message;

/// Bytes after the netlink header of the last message.
fn last_body(batch: Batch) -> Vec<u8> {
    let message = batch.into_messages().pop().unwrap();
    message.finish(0).unwrap().split_off(16)
}

/// Bytes that nft(8) 1.0.6 sends for the same expression, seen with strace.
fn check(expression: &Expression, expected: &str) {
    let mut list = Message::new(0, 0, &[]);
    expression.write(&mut list);
    let bytes = list.finish(0).unwrap();
    assert_eq!(hex::encode(&bytes[16..]), expected, "{expression:?}");
}

#[test]
fn expressions_are_those_of_nft() {
    check(
        &Expression::Meta {
            key: meta::INPUT_NAME,
            into: Register(0),
        },
        "2400018009000100\
         6d65746100000000\
         1400028008000200000000060800010000000001",
    );
    check(
        &Expression::Compare {
            operator: Operator::NotEqual,
            register: Register(0),
            value: b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        },
        "3800018008000100636d7000\
         2c0002800800010000000001080002000000000118000380\
         140001006c6f0000000000000000000000000000",
    );
    check(
        &Expression::Payload {
            base: PayloadBase::Transport,
            offset: 2,
            length: 2,
            into: Register(2),
        },
        "340001800c0001007061796c6f616400\
         24000280080001000000000a080002000000000208000300000000020800040000000002",
    );
    check(
        &Expression::DestinationType { into: Register(0) },
        "280001800800010066696200\
         1c000280080003000000000208000200000000030800010000000001",
    );
    check(
        &Expression::ConnectionStatus { into: Register(0) },
        "200001800700010063740000140002800800020000000002\
         0800010000000001",
    );
    check(
        &Expression::ConnectionState { into: Register(0) },
        "200001800700010063740000140002800800020000000000\
         0800010000000001",
    );
    check(
        &Expression::Mask {
            register: Register(0),
            mask: vec![0x20, 0, 0, 0],
        },
        "440001800c0001006269747769736500\
         340002800800010000000001080002000000000108000300000000040c00048008000100\
         200000000c0005800800010000000000",
    );
    check(
        &Expression::DestinationNat {
            address: Register(0),
            port: Register(1),
        },
        "30000180080001006e617400\
         2400028008000100000000010800020000000002080003000000000108000500\
         00000009",
    );
    check(
        &Expression::Masquerade,
        "14000180090001006d6173710000000004000280",
    );
    check(
        &Expression::Drop,
        "300001800e000100696d6d6564696174650000001c000280\
         0800010000000000100002800c00028008000100\
         00000000",
    );
    check(
        &Expression::Accept,
        "300001800e000100696d6d6564696174650000001c000280\
         0800010000000000100002800c00028008000100\
         00000001",
    );
    // Without the set's number in the transaction, which nft adds; names do.
    check(
        &Expression::Lookup {
            set: "bound",
            key: Register(0),
            into: Some(Register(0)),
        },
        "300001800b0001006c6f6f6b75700000\
         20000280080002000000000108000300000000010a000100626f756e64000000",
    );
}

#[test]
fn registers_have_the_kernels_numbers() {
    let number = |word| Register(word).number();
    assert_eq!([0, 1, 2, 4, 6, 8].map(number), [1, 9, 10, 2, 14, 3]);
}

#[test]
fn chain_is_that_of_nft() {
    let mut batch = Batch::new();
    let chain = Chain {
        name: "output",
        kind: ChainKind::Nat,
        hook: Hook::Output,
        priority: -100,
    };
    batch.add_chain(Family::Ipv4, "carrack0", &chain);
    assert_eq!(
        hex::encode(last_body(batch)),
        "02000000\
         0d0001006361727261636b3000000000\
         0b0003006f75747075740000\
         080007006e617400\
         0800050000000001\
         1400048008000100000000030800020\
         0ffffff9c"
    );
}

#[test]
fn map_and_element_are_those_of_nft() {
    let mut batch = Batch::new();
    let set = Set {
        name: "bound",
        id: 2,
        key: &[DataType::Ipv4Address, DataType::Protocol, DataType::Service],
        data: &[DataType::Ipv4Address, DataType::Service],
    };
    batch.add_set(Family::Ipv4, "carrack0", &set);
    assert_eq!(
        hex::encode(last_body(batch)),
        "02000000\
         0d0001006361727261636b3000000000\
         0a000200626f756e64000000\
         0800030000000008\
         080004000000730d\
         080005000000000c\
         08000600000001cd\
         0800070000000008\
         08000a0000000002"
    );

    let mut batch = Batch::new();
    let element = Element {
        key: vec![10, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0],
        data: vec![172, 30, 0, 2, 0, 80, 0, 0],
    };
    batch.add_elements(Family::Ipv4, "carrack0", "bound", &[element]);
    assert_eq!(
        hex::encode(last_body(batch)),
        "02000000\
         0d0001006361727261636b3000000000\
         0a000200626f756e64000000\
         2c000380\
         280001801400018010000100\
         0a000001060000001f900000\
         100002800c000100\
         ac1e000200500000"
    );
}

#[test]
fn many_elements_are_split_into_messages_that_fit() {
    let elements: Vec<_> = (0_u32..2_500)
        .map(|number| Element {
            key: [number.to_be_bytes(); 7].concat(),
            data: vec![0; 8],
        })
        .collect();
    let mut batch = Batch::new();
    batch.add_elements(Family::Ipv4, "t", "s", &elements);
    let messages = batch.into_messages();
    assert_eq!(messages.len(), 4);
    for message in messages {
        message.finish(0).unwrap();
    }
}

#[test]
fn events_are_read() {
    let body = |fill: fn(&mut Message)| {
        let mut message = Message::new(0, 0, &[2, 0, 0, 0]);
        fill(&mut message);
        message.finish(0).unwrap().split_off(16)
    };
    let generation = body(|m| {
        m.put_be_u32(1, 77);
        m.put_be_u32(2, 4242);
        m.put_text(3, "nft");
    });
    assert_eq!(table_of_event(0x0a0f, &generation), None);
    let table = body(|m| m.put_text(1, "carrack0"));
    assert_eq!(table_of_event(0x0a02, &table), Some("carrack0"));
    assert_eq!(table_of_event(0x0a02, &[]), None);
    assert_eq!(table_of_event(0x0a02, &[2, 0, 0, 0, 1]), None);
}

#[test]
fn chains_that_drop_forwarded_packets_are_found() {
    let body = || {
        crate::netns::Workshop::open()
            .unwrap()
            .make(|_, _| {
                let script = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }
                    table inet fw { chain f { type filter hook forward priority 0; policy drop; };
                                    chain i { type filter hook input priority 0; policy drop; }; }
                    table ip ours { chain forward { type filter hook forward priority 0; policy accept; }; }";
                let done = std::process::Command::new("nft").arg(script).status().unwrap();
                assert!(done.success());
                let mut socket = crate::netlink::Socket::open(crate::netlink::Protocol::Netfilter)?;
                let found = Tables(&mut socket).forward_drops()?;
                assert_eq!(found, ["filter FORWARD", "fw f"]);
                Ok::<_, crate::netns::NetnsError>(())
            })
            .unwrap();
    };
    std::thread::spawn(body).join().unwrap();
}
