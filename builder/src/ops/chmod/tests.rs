use super::Symbolic;

fn check(text: &str, mode: u32, is_dir: bool, expected: u32) {
    let found = Symbolic::parse(text).unwrap().apply(mode, is_dir);
    assert_eq!(found, expected, "{text} on {mode:o}: {found:o}");
}

#[test]
fn clauses_change_modes_as_chmod_does() {
    check("u=rwX,go=rX", 0o600, false, 0o644);
    check("u=rwX,go=rX", 0o700, false, 0o755);
    check("u=rwX,go=rX", 0o700, true, 0o755);
    check("+x", 0o644, false, 0o755);
    check("a-w", 0o777, false, 0o555);
    check("g+s", 0o755, true, 0o2755);
    check("u+s", 0o755, false, 0o4755);
    check("+t", 0o777, true, 0o1777);
    check("o=", 0o777, false, 0o770);
    check("g=u", 0o640, false, 0o660);
    check("u=rw", 0o4755, false, 0o655);
    check("u=rwx", 0o4755, true, 0o4755);
    check("u+r-w", 0o200, false, 0o400);
}

#[test]
fn other_texts_are_refused() {
    for text in ["", "rwx", "z+r", "u+q", "u", "755", "u=rw,", "é+x"] {
        assert!(Symbolic::parse(text).is_err(), "{text:?}");
    }
}
