use super::{BadPattern, matches};

fn check(pattern: &str, name: &str, expected: bool) {
    let found = matches(pattern.as_bytes(), name.as_bytes());
    assert_eq!(found, Ok(expected), "{pattern:?} {name:?}");
}

#[test]
fn patterns_match_as_in_go() {
    // From the table in Go's path/filepath documentation and its corner cases.
    check("abc", "abc", true);
    check("*", "abc", true);
    check("*c", "abc", true);
    check("a*", "a", true);
    check("a*", "ab/c", false);
    check("a*/b", "abc/b", true);
    check("a*b*c*d*e*/f", "axbxcxdxexxx/f", true);
    check("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false);
    check("a*b?c*x", "abxbbxdbxebxczzx", true);
    check("a*b?c*x", "abxbbxdbxebxczzy", false);
    check("ab[c]", "abc", true);
    check("ab[b-d]", "abc", true);
    check("ab[e-g]", "abc", false);
    check("ab[^c]", "abc", false);
    check("ab[^e-g]", "abc", true);
    check("a\\*b", "a*b", true);
    check("a\\*b", "ab", false);
    check("a?b", "a☺b", true);
    check("a[^a]b", "a☺b", true);
    check("a???b", "a☺b", false);
    check("[a-ζ]*", "α", true);
    check("*[a-ζ]", "A", false);
    check("a?b", "a/b", false);
    check("a*b", "a/b", false);
    check("[\\]a]", "]", true);
    check("[\\-x]", "-", true);
    check("*x", "xxx", true);
    check("*.txt", ".txt", true);
    check("", "", true);
    check("", "a", false);
}

#[test]
fn unfinished_patterns_are_refused() {
    for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\"] {
        assert_eq!(
            matches(pattern.as_bytes(), b"a"),
            match pattern {
                "a[" => Ok(false),
                _ => Err(BadPattern),
            },
            "{pattern:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_pattern_makes_it_panic(pattern: Vec<u8>, name: Vec<u8>) {
        let _ = matches(&pattern, &name);
    }

    #[test]
    fn a_name_matches_itself_when_escaped(name in "[a-z*?\\[\\]\\\\-]{0,12}") {
        let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
        proptest::prop_assert_eq!(matches(escaped.as_bytes(), name.as_bytes()), Ok(true));
    }
}
