use proptest::prelude::*;

use super::*;

fn check(header: &str, expected: &str) {
    let shown = parse(header)
        .iter()
        .map(|challenge| match challenge {
            Challenge::Basic => "basic".to_owned(),
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => format!(
                "bearer {realm} {} {}",
                service.as_deref().unwrap_or("-"),
                scope.as_deref().unwrap_or("-")
            ),
        })
        .collect::<Vec<_>>()
        .join("; ");
    assert_eq!(shown, expected, "{header}");
}

#[test]
fn challenges_are_read() {
    check("Basic realm=\"Registry\"", "basic");
    check(
        r#"Bearer realm="https://a.io/token",service="a.io",scope="repository:x/y:pull,push""#,
        "bearer https://a.io/token a.io repository:x/y:pull,push",
    );
    check(
        r#"bearer Realm = "http://h/t" , error="invalid_token""#,
        "bearer http://h/t - -",
    );
    check(
        r#"Basic realm="x", Bearer realm="https://a/t""#,
        "basic; bearer https://a/t - -",
    );
    check(r#"Negotiate, Basic realm=x"#, "basic");
    check(r#"Bearer realm="a\"b""#, "bearer a\"b - -");
    check(r#"Bearer realm="never closed"#, "");
    check("Bearer", "");
    check("", "");
    check("\"\"\"", "");
}

fn check_realm(registry: &str, realm: &str, trusted: bool) {
    let url = |text: &str| Url::parse(text).unwrap();
    assert_eq!(
        realm_is_trusted(&url(registry), &url(realm)),
        trusted,
        "{registry} → {realm}"
    );
}

#[test]
fn secrets_stay_with_their_registry() {
    check_realm(
        "https://registry-1.docker.io/",
        "https://auth.docker.io/token",
        true,
    );
    check_realm(
        "https://registry.gitlab.com/",
        "https://gitlab.com/jwt/auth",
        true,
    );
    check_realm("https://ghcr.io/", "https://ghcr.io/token", true);
    check_realm("http://127.0.0.1:5000/", "http://127.0.0.1:5001/t", true);
    check_realm(
        "https://registry.example.com/",
        "https://evil.com/token",
        false,
    );
    check_realm("https://example.co.uk/", "https://evil.co.uk/token", false);
    check_realm("https://ghcr.io/", "https://evil.io/token", false);
    check_realm(
        "https://r.example.com/",
        "http://r.example.com/token",
        false,
    );
    check_realm("https://r.example.com/", "https://10.0.0.1/token", false);
    check_realm(
        "https://r.example.com/",
        "https://u:p@r.example.com/t",
        false,
    );
    check_realm("http://localhost:5000/", "http://127.0.0.1:5000/t", false);
    check_realm("https://notexample.com/", "https://xnotexample.com/", false);
}

proptest! {
    #[test]
    fn no_header_panics_or_hangs(header in ".{0,200}") {
        parse(&header);
    }

    #[test]
    fn quoted_values_survive(realm in "[ -~]{1,40}") {
        let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let found = parse(&format!("Bearer realm=\"{escaped}\""));
        let wanted = Challenge::Bearer { realm, service: None, scope: None };
        prop_assert_eq!(found, vec![wanted]);
    }
}
