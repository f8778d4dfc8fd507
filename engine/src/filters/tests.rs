use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
    match (
        Filters::parse(Some(text), &["label", "label!", "name"]),
        expected,
    ) {
        (Ok(got), Ok(pairs)) => {
            let mut want = BTreeMap::<String, BTreeSet<String>>::new();
            for (key, value) in pairs {
                want.entry((*key).into())
                    .or_default()
                    .insert((*value).into());
            }
            assert_eq!(got, Filters(want), "{text}");
        }
        (Err(error), Err(message)) => assert_eq!(error.to_string(), message, "{text}"),
        (got, want) => panic!("{text}: {got:?} instead of {want:?}"),
    }
}

#[test]
fn both_wire_forms_parse() {
    check(
        r#"{"label":{"a=b":true,"c":true}}"#,
        Ok(&[("label", "a=b"), ("label", "c")]),
    );
    check(r#"{"label":["a=b"]}"#, Ok(&[("label", "a=b")]));
    check("", Ok(&[]));
    check("{}", Ok(&[]));
    check(r#"{"colour":["red"]}"#, Err("invalid filter 'colour'"));
    check("[1]", Err("invalid filter"));
    check("{", Err("invalid filter"));
}

fn labels_match(filter: &str, expected: bool) {
    let filters = Filters::parse(Some(filter), &["label", "label!"]).unwrap();
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(filters.labels(&labels), expected, "{filter}");
}

#[test]
fn labels_are_all_wanted_and_none_unwanted() {
    labels_match(r#"{"label":["a"]}"#, true);
    labels_match(r#"{"label":["a=b"]}"#, true);
    labels_match(r#"{"label":["a=c"]}"#, false);
    labels_match(r#"{"label":["a","z"]}"#, false);
    labels_match(r#"{"label!":["a=b"]}"#, false);
    labels_match(r#"{"label!":["z"]}"#, true);
}

fn check_glob(pattern: &str, text: &str, expected: bool) {
    assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
}

#[test]
fn globs_stop_at_slashes() {
    check_glob("busy*", "busybox", true);
    check_glob("*", "a/b", false);
    check_glob("*/b", "a/b", true);
    check_glob("b?x", "box", true);
    check_glob("box", "boxy", false);
}

proptest! {
    #[test]
    fn hostile_filters_never_panic(text in "\\PC*", pattern in "[a*?/]{0,40}") {
        let _ = Filters::parse(Some(&text), &["label"]);
        let _ = glob(&pattern, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    }
}
