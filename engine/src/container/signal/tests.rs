use super::*;

fn check(text: &str, expected: Option<i32>) {
    assert_eq!(parse(text).ok(), expected, "{text:?}");
}

#[test]
fn signals_parse_by_name_and_number() {
    check("SIGTERM", Some(15));
    check("term", Some(15));
    check("9", Some(9));
    check("KILL", Some(9));
    check("SYS", Some(31));
    check("RTMIN+3", Some(37));
    check("SIGRTMAX-1", Some(63));
    check("0", None);
    check("65", None);
    check("-9", None);
    check("SIGNOPE", None);
    check("", None);
    check("RTMIN+99", None);
}

#[test]
fn a_reload_is_no_end() {
    let all = ["HUP", "USR1", "USR2", "WINCH", "CONT", "RTMIN+3"];
    assert!(all.iter().all(|name| is_message(parse(name).unwrap())));
    let ends = ["TERM", "INT", "QUIT", "KILL", "ABRT"];
    assert!(!ends.iter().any(|name| is_message(parse(name).unwrap())));
}
