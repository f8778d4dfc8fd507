use proptest::prelude::*;

use super::*;

#[test]
fn pairs_are_decoded() {
    let query = Query::parse(Some("a=1&b=x%2Fy+z&a=2&flag&bad=%zz"));
    assert_eq!(query.get("a"), Some("1"));
    assert_eq!(query.all("a"), ["1", "2"]);
    assert_eq!(query.get("b"), Some("x/y z"));
    assert_eq!(query.get("flag"), Some(""));
    assert_eq!(query.get("bad"), Some("%zz"));
    assert_eq!(query.get("none"), None);
}

fn check_flag(value: &str, expected: bool) {
    let query = Query::parse(Some(&format!("f={value}")));
    assert_eq!(query.flag("f"), expected, "{value:?}");
}

#[test]
fn truth_is_dockers() {
    for no in ["", "0", "no", "false", "none", "False"] {
        check_flag(no, false);
    }
    for yes in ["1", "true", "yes", "anything"] {
        check_flag(yes, true);
    }
}

proptest! {
    #[test]
    fn no_query_panics(text in "\\PC*") {
        let query = Query::parse(Some(&text));
        let _ = query.number::<u32>("a");
    }
}
