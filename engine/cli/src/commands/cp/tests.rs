use super::*;

#[test]
fn arguments() {
    for (text, expected) in [
        ("web:/etc", Place::Container("web", "/etc")),
        ("web:etc:x", Place::Container("web", "etc:x")),
        ("web:", Place::Container("web", "")),
        ("/a:b", Place::Local("/a:b")),
        ("./a:b", Place::Local("./a:b")),
        (":x", Place::Local(":x")),
        ("-", Place::Local("-")),
        ("file", Place::Local("file")),
    ] {
        assert_eq!(place(text), expected, "{text}");
    }
}

#[test]
fn where_a_copy_goes() {
    let shown = |destination, existing, source, is_directory| {
        target(destination, existing, source, is_directory)
            .map(|t| format!("{}|{}", t.directory.display(), t.name.unwrap_or_default()))
            .ok()
    };
    for (destination, existing, source, is_directory, expected) in [
        ("/to", Some(true), "/a/file", false, Some("/to|")),
        ("/to/", Some(true), "/a/dir", true, Some("/to|")),
        ("/to", Some(true), "/a/dir/.", true, Some("/to|")),
        ("/to/f", Some(false), "/a/file", false, Some("/to|f")),
        ("/to/f/", Some(false), "/a/file", false, None),
        ("/to/f", Some(false), "/a/dir", true, None),
        ("/to/new", None, "/a/file", false, Some("/to|new")),
        ("/to/new/", None, "/a/file", false, None),
        ("/to/new", None, "/a/dir", true, Some("/to|new")),
        ("/to/new/", None, "/a/dir", true, Some("/to|new")),
        ("/to/new", None, "/a/dir/.", true, Some("/to/new|")),
        ("new", None, "/a/file", false, Some(".|new")),
        (".", Some(true), "/a/file", false, Some(".|")),
        ("/", Some(true), "/a/file", false, Some("/|")),
    ] {
        let got = shown(destination, existing, source, is_directory);
        assert_eq!(got.as_deref(), expected, "{source} -> {destination}");
    }
}

#[test]
fn names_and_links() {
    for (source, expected) in [
        ("/a/b", "b"),
        ("/a/b/", "b"),
        ("/a/b/.", "."),
        ("/", "."),
        (".", "."),
    ] {
        assert_eq!(archive_name(source), expected);
    }
    assert_eq!(link_target("/a/l", "/x"), "/x");
    assert_eq!(link_target("/a/l", "x"), "/a/x");
}
