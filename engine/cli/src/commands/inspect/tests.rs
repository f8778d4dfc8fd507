use proptest::prelude::*;

use super::*;

#[test]
fn documents_are_indented_as_docker_does() {
    let text = list(&[
        br#"{"b":1,"a":{"x":[],"y":{},"z":["1",{"q":"a\"{[,:"}]}}"#,
        b"null",
    ]);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"[
    {
        "b": 1,
        "a": {
            "x": [],
            "y": {},
            "z": [
                "1",
                {
                    "q": "a\"{[,:"
                }
            ]
        }
    },
    null
]
"#
    );
    assert_eq!(list(&[]), b"[]\n");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
        "[\"\\\\{}\\[\\],: ]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map("[a-z\"]{0,4}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn indenting_is_what_the_pretty_printer_does(value in any_json()) {
        use serde::Serialize as _;
        let mut expected = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut expected, formatter)).unwrap();
        expected.push(b'\n');
        prop_assert_eq!(indent(&serde_json::to_vec(&value).unwrap()), expected);
    }
}
