use super::*;

fn check(name: &str, expected: Option<&str>) {
    assert_eq!(container_name(name).ok().as_deref(), expected, "{name:?}");
}

#[test]
fn container_names_follow_dockers_rule() {
    check("web", Some("web"));
    check("/web", Some("web"));
    check("a1_b.c-d", Some("a1_b.c-d"));
    check("a", None);
    check("", None);
    check("-web", None);
    check("../etc", None);
    check("a/b", None);
    check("a b", None);
    check("é1", None);
    check(&"x".repeat(256), None);
}

#[test]
fn made_up_names_are_valid() {
    for attempt in 0..10 {
        assert!(is_valid(&made_up(attempt)));
    }
}
