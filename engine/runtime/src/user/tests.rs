use proptest::prelude::*;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\nbad line\n\
    app:x:1000:1001:App:/home/app:/bin/sh\nnohome:x:7:8::\n\
    huge:x:4294967296:0::/:\nminus:x:-1:0::/:\nrfc:x:12:12:a:b\n";
const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:app,other\naudio:x:11:apple\nbig:x:4294967295:app\n\
    app:x:1001:\n";

fn check(spec: &str, extra: &[&str], expected: Result<(u32, &[u32], &str), &str>) {
    let extra: Vec<String> = extra.iter().map(|s| s.to_string()).collect();
    let found = resolve(spec, &extra, PASSWD, GROUP);
    match (&found, expected) {
        (Ok(id), Ok((uid, groups, home))) => {
            assert_eq!(
                (id.uid, &id.groups[..], &id.home[..]),
                (uid, groups, home),
                "{spec}"
            );
            assert_eq!(id.gid, groups[0]);
        }
        (Err(e), Err(text)) => assert!(e.to_string().contains(text), "{spec}: {e}"),
        _ => panic!("{spec}: {found:?}"),
    }
}

#[test]
fn users_and_groups_resolve_as_docker_does() {
    check("", &[], Ok((0, &[0], "/root")));
    check("app", &[], Ok((1000, &[1001, 10], "/home/app")));
    check("1000", &[], Ok((1000, &[1001, 10], "/home/app")));
    check("app:wheel", &[], Ok((1000, &[10], "/home/app")));
    check("app:", &[], Ok((1000, &[1001, 10], "/home/app")));
    check("4242", &[], Ok((4242, &[0], "/")));
    check("4242:4343", &[], Ok((4242, &[4343], "/")));
    check(":wheel", &[], Ok((0, &[10], "/root")));
    check(
        "nohome",
        &["audio", "77", "audio"],
        Ok((7, &[8, 11, 77], "/")),
    );
}

#[test]
fn unknown_names_are_reported_in_dockers_words() {
    check(
        "nobody",
        &[],
        Err("unable to find user nobody: no matching entries in passwd file"),
    );
    check(
        "app:none",
        &[],
        Err("unable to find group none: no matching entries in group file"),
    );
    check("app", &["none"], Err("unable to find group none"));
}

/// B10: ids that overflow, and entries that would make them something else.
#[test]
fn numbers_never_wrap_or_fall_back_to_names() {
    for spec in [
        "4294967296",
        "-1",
        "2147483648",
        "1000:4294967295",
        "+1",
        "99999999999999999999",
    ] {
        check(spec, &[], Err("is not a number from 0 to 2147483647"));
    }
    check("huge", &[], Err("unable to find user"));
    check("minus", &[], Err("unable to find user"));
    check("app:big", &[], Err("unable to find group"));
    let passwd = b"1000:x:0:0::/root:\n";
    let found = resolve("1000", &[], passwd, b"");
    assert_eq!(found, Err(UserError::Ambiguous("1000".into())));
}

proptest! {
    #[test]
    fn any_files_give_an_identity_in_range_or_an_error(
        spec in "[a-z0-9:+-]{0,12}",
        passwd in proptest::collection::vec(any::<u8>(), 0..200),
        group in "([a-z0-9]{0,4}:){0,5}\n?([a-z0-9]{0,4}:){0,5}",
    ) {
        if let Ok(id) = resolve(&spec, &[], &passwd, group.as_bytes()) {
            prop_assert!(id.uid <= ID_MAX && id.groups.iter().all(|&g| g <= ID_MAX));
        }
    }
}
