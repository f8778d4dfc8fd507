use super::*;

fn check(patterns: &str, path: &str, ignored: bool) {
    let ignore = Ignore::parse(patterns).unwrap();
    assert_eq!(ignore.is_ignored(path), ignored, "{patterns:?} on {path:?}");
}

#[test]
fn names_and_directories() {
    check("a", "a", true);
    check("a", "a/b/c", true);
    check("a", "b/a", false);
    check("a", "ab", false);
    check("/a/", "a/b", true);
    check("./a/../b", "b", true);
    check("a/b", "a/b/c", true);
    check("a/b", "a", false);
    check("# a\n\n  b  \n", "a", false);
    check("# a\n\n  b  \n", "b", true);
    check("\u{feff}a", "a", true);
    check(".", "a", false);
    check("", "a", false);
}

#[test]
fn wildcards() {
    check("*.go", "x.go", true);
    check("*.go", "d/x.go", false);
    check("*/*.go", "d/x.go", true);
    check("*", "d/x.go", true);
    check("a?", "ab", true);
    check("a?", "a/", false);
    check("a?c", "a/c", false);
    check("[a-c]x", "bx", true);
    check("[^a-c]x", "bx", false);
    check("[^a-c]x", "dx", true);
    check("\\*", "*", true);
    check("\\*", "x", false);
    check("x.y", "xzy", false);
    check("a+b(c)|d$", "a+b(c)|d$", true);
}

#[test]
fn any_depth() {
    check("**/*.go", "x.go", true);
    check("**/*.go", "a/b/x.go", true);
    check("**/x", "a/bx", false);
    check("**/x", "x", true);
    check("**/x", "a/x/y", true);
    check("a/**/b", "a/b", true);
    check("a/**/b", "a/x/y/b", true);
    check("a/**/b", "a/xb", false);
    check("a/**", "a/x/y", true);
    check("a/**", "a", false);
    check("**", "a/b", true);
    check("**x", "a/bx", true);
    check("**/a/**/b", "q/a/z/b", true);
    check("a/**/*.c", "a/x.c", true);
    check("a**b", "a/b", true);
}

#[test]
fn taking_back() {
    check("*.md\n!README.md", "README.md", false);
    check("*.md\n!README.md", "x.md", true);
    check(
        "*.md\n!README*.md\nREADME-secret.md",
        "README-secret.md",
        true,
    );
    check(
        "*.md\nREADME-secret.md\n!README*.md",
        "README-secret.md",
        false,
    );
    check("a\n!a/keep", "a/keep/x", false);
    check("a\n!a/keep", "a/other", true);
    check("*\n!src", "src/main.rs", false);
    check("! a\na", "a", true);
}

#[test]
fn pruning() {
    let pruned = |patterns: &str, path: &str| Ignore::parse(patterns).unwrap().is_pruned(path);
    assert!(pruned("target", "target"));
    assert!(pruned("target\n!src/x", "target"));
    assert!(!pruned("target\n!target/keep", "target"));
    assert!(!pruned("target\n!**/keep", "target"));
    assert!(!pruned("*\n!a/b/c", "a"));
    assert!(!pruned("*\n!a/b/c", "a/b"));
    assert!(pruned("*\n!a/b/c", "a/x"));
    assert!(pruned("*\n!a/b/c", "b"));
    assert!(!pruned("src", "target"));
}

#[test]
fn mistakes_name_their_line() {
    let error = |text: &str| Ignore::parse(text).unwrap_err();
    assert_eq!(error("a\n!"), IgnoreError::Bare { line: 2 });
    for pattern in ["[", "[]", "a[b", "[a-]", "x\\", "[-a]"] {
        assert!(
            matches!(error(pattern), IgnoreError::Syntax { line: 1, .. }),
            "{pattern}"
        );
    }
    assert_eq!(error(&"x".repeat(5_000)), IgnoreError::TooLong { line: 1 });
    assert_eq!(error(&"x\n".repeat(10_001)), IgnoreError::TooMany);
}

#[test]
fn patterns_come_back_cleaned() {
    let ignore = Ignore::parse("/a//b/\n# no\n! ./c\n").unwrap();
    assert_eq!(ignore.patterns().collect::<Vec<_>>(), ["a/b", "!c"]);
    let again = ignore.patterns().collect::<Vec<_>>().join("\n");
    assert_eq!(Ignore::parse(&again).unwrap(), ignore);
}

#[test]
fn the_files_own_ignore_file_comes_first() {
    assert_eq!(
        file_names("docker/web.Dockerfile"),
        ["docker/web.Dockerfile.dockerignore", ".dockerignore"]
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics(text in ".{0,80}", path in ".{0,40}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = (ignore.is_ignored(&path), ignore.is_pruned(&path));
            }
        }

        /// A walk that prunes finds the same files as one that does not.
        #[test]
        fn pruning_loses_nothing(
            lines in proptest::collection::vec("!?(\\*\\*/)?[ab*?]{1,2}(/[ab*]{1,2}){0,2}", 1..5),
            parts in proptest::collection::vec("[ab]{1,2}", 1..5),
        ) {
            let ignore = Ignore::parse(&lines.join("\n")).unwrap();
            let path = parts.join("/");
            if !ignore.is_ignored(&path) {
                for depth in 1..parts.len() {
                    let parent = parts[..depth].join("/");
                    prop_assert!(!ignore.is_pruned(&parent), "{} below {}", path, parent);
                }
            }
        }

        #[test]
        fn a_literal_name_matches_itself_only(name in "[a-z]{1,6}", other in "[a-z]{1,6}") {
            let ignore = Ignore::parse(&name).unwrap();
            prop_assert!(ignore.is_ignored(&name));
            prop_assert_eq!(ignore.is_ignored(&other), name == other);
        }
    }
}
