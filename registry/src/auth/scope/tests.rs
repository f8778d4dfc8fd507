use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &str) {
    let shown = Scope::parse_all([text])
        .iter()
        .map(|scope| match scope {
            Scope::Catalog => "catalog".to_owned(),
            Scope::Repository(repo, actions) => {
                let actions: Vec<_> = actions.iter().map(|a| a.as_str()).collect();
                format!("{repo}={}", actions.join("+"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn scopes_are_read() {
    check("repository:a/b:pull,push", "a/b=pull+push");
    check(
        "repository:a:* repository:b:pull",
        "a=pull+push+delete b=pull",
    );
    check("repository(plugin):a:pull", "a=pull");
    check("registry:catalog:*", "catalog");
    check("repository:a:pull,pull,bogus", "a=pull");
    check("repository:host:5000/a:pull", "");
    check("repository:A:pull", "");
    check("repository:../x:pull", "");
    check("repository:*:pull", "");
    check("bogus", "");
    check("", "");
}

#[test]
fn nobody_gets_more_than_their_role() {
    let scope = &Scope::parse_all(["repository:a:pull,push,delete"])[0];
    assert_eq!(scope.grant(None, false), None);
    assert_eq!(scope.grant(None, true).unwrap().actions, ["pull"]);
    let user = |is_admin| User {
        id: 1,
        name: "u".to_owned(),
        password_hash: String::new(),
        is_admin,
    };
    assert_eq!(scope.grant(Some(&user(false)), false), None);
    let all = scope.grant(Some(&user(true)), false).unwrap();
    assert_eq!(all.actions, ["pull", "push", "delete"]);
    assert_eq!(Scope::Catalog.grant(Some(&user(false)), true), None);
}

proptest! {
    #[test]
    fn no_scope_panics(text in "\\PC{0,60}") {
        Scope::parse_all([text.as_str()]);
    }
}
