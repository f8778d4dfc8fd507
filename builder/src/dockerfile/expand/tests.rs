use std::collections::BTreeMap;

use super::*;

fn variables() -> BTreeMap<String, String> {
    [
        ("A", "one"),
        ("EMPTY", ""),
        ("PATHS", "/usr/local/bin/tool.tar.gz"),
        ("SPACED", "x y"),
        ("STAR", "a*b*c"),
        ("UTF", "äöü"),
        ("1", "first"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// `source` expands to `expected`, or fails with a message that ends in it
/// after `!`.
fn check_with(expansion: Expansion, source: &str, expected: &str) {
    let result = expansion.word(source, &variables());
    match (expected.strip_prefix('!'), result) {
        (None, Ok(expanded)) => assert_eq!(expanded.text, expected, "{source}"),
        (Some(message), Err(problem)) => {
            assert!(problem.message.ends_with(message), "{source}: {problem}");
        }
        (_, other) => panic!("{source}: {other:?}, expected {expected}"),
    }
}

fn check(source: &str, expected: &str) {
    check_with(Expansion::new('\\'), source, expected);
}

#[test]
fn names_and_braces() {
    check("$A", "one");
    check("${A}two", "onetwo");
    check("$Atwo", "");
    check("$A-two", "one-two");
    check("a$", "a$");
    check("$1x", "firstx");
    check("$@", "");
    check("$UTF", "äöü");
    check("${A", "!syntax error: missing '}'");
    check("${", "!syntax error: missing '}'");
    check("${}", "!syntax error: bad substitution");
    check("${:-x}", "!syntax error: bad substitution");
    check("${A^^}", "!unsupported modifier (^) in substitution");
    check("${A:#x}", "!unsupported modifier (:#) in substitution");
}

#[test]
fn alternatives() {
    check("${NONE:-x}", "x");
    check("${EMPTY:-x}", "x");
    check("${EMPTY-x}", "");
    check("${A:-x}", "one");
    check("${A:+x}", "x");
    check("${EMPTY:+x}", "");
    check("${EMPTY+x}", "x");
    check("${NONE+x}", "");
    check("${NONE:-${NONE:-$A}}", "one");
    check("${NONE:?}", "!NONE: is not allowed to be unset");
    check("${EMPTY:?}", "!EMPTY: is not allowed to be empty");
    check("${EMPTY?}", "");
    check(
        "${NONE?pass --build-arg NONE}",
        "!NONE: pass --build-arg NONE",
    );
    check("${NONE:-x", "!syntax error: missing '}'");
}

#[test]
fn quotes_and_escapes() {
    check("'$A'", "$A");
    check("\"$A\"", "one");
    check("\\$A", "$A");
    check("\"\\$A\"", "$A");
    check("\"a\\nb\"", "a\\nb");
    check("a\\ b", "a b");
    check("'a", "!while looking for matching single-quote");
    check("\"a", "!while looking for matching double-quote");
    check_with(Expansion::new('`'), "C:\\x`$A", "C:\\x$A");
}

#[test]
fn patterns() {
    check("${PATHS#*/}", "usr/local/bin/tool.tar.gz");
    check("${PATHS##*/}", "tool.tar.gz");
    check("${PATHS%.*}", "/usr/local/bin/tool.tar");
    check("${PATHS%%.*}", "/usr/local/bin/tool");
    check("${PATHS#nothing}", "/usr/local/bin/tool.tar.gz");
    check("${STAR#a\\*}", "b*c");
    check("${STAR/\\*/-}", "a-b*c");
    check("${STAR//\\*/-}", "a-b-c");
    check("${A/o*e/x}", "x");
    check("${A/?/x}", "xne");
    check("${A//?/x}", "xxx");
    check("${UTF%?}", "äö");
    check("${PATHS//\\//:}", ":usr:local:bin:tool.tar.gz");
    check("${NONE#x}", "");
    check(
        "${A#\\x}",
        "!invalid pattern (\\x) in substitution: invalid escape '\\x'",
    );
    check("${A/x", "!missing '/' in ${}");
    check("${A/x/y", "!missing '}'");
}

#[test]
fn heredoc_bodies_keep_quotes() {
    let body = Expansion {
        plain_quotes: true,
        ..Expansion::new('\\')
    };
    check_with(body, "it's \"$A\"\n", "it's \"one\"\n");
}

#[test]
fn unset_can_stay() {
    let kept = Expansion {
        keep_quotes: true,
        keep_escapes: true,
        keep_unset: true,
        ..Expansion::new('\\')
    };
    check_with(
        kept,
        "make \"$NONE\" ${NONE:-x} $A",
        "make \"$NONE\" ${NONE:-x} one",
    );
}

#[test]
fn words() {
    let words = |source| {
        Expansion::new('\\')
            .word(source, &variables())
            .unwrap()
            .words
    };
    assert_eq!(words("80 443"), ["80", "443"]);
    assert_eq!(words("$SPACED z"), ["x", "y", "z"]);
    assert_eq!(words("\"$SPACED\" z"), ["x y", "z"]);
    assert_eq!(words("8${NONE:-0}/tcp"), ["80/tcp"]);
}

#[test]
fn growth_and_nesting_are_bounded() {
    let mut env = variables();
    env.insert("BIG".to_owned(), "x".repeat(300_000));
    let result = Expansion::new('\\').word("$BIG$BIG$BIG$BIG", &env);
    assert_eq!(result.unwrap_err().kind, super::super::ErrorKind::TooLarge);

    let deep = "${N:-".repeat(20_000) + &"}".repeat(20_000);
    let result = Expansion::new('\\').word(&deep, &env);
    assert_eq!(result.unwrap_err().kind, super::super::ErrorKind::TooLarge);

    env.insert("BIG".to_owned(), "ab".repeat(200_000));
    let result = Expansion::new('\\').word("${BIG//a*c/x}", &env);
    assert_eq!(result.unwrap_err().kind, super::super::ErrorKind::TooLarge);
}
