use base64::Engine as _;

use super::*;

fn check(header: Option<&str>, expected: &str) {
    let got = match credentials(header) {
        Ok(Credentials::Anonymous) => "anonymous".to_owned(),
        Ok(Credentials::Basic { user, password }) => format!("{user}:{password}"),
        Ok(Credentials::IdentityToken(token)) => format!("identity {token}"),
        Ok(Credentials::Bearer(token)) => format!("bearer {token}"),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected, "{header:?}");
}

#[test]
fn credentials_come_in_every_alphabet() {
    let json = r#"{"username":"us?>er","password":"p~ß"}"#;
    check(
        Some(&base64::prelude::BASE64_URL_SAFE.encode(json)),
        "us?>er:p~ß",
    );
    check(
        Some(&base64::prelude::BASE64_STANDARD.encode(json)),
        "us?>er:p~ß",
    );
    check(
        Some(&base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json)),
        "us?>er:p~ß",
    );
    let encode = |json: &str| base64::prelude::BASE64_URL_SAFE.encode(json);
    check(Some(&encode(r#"{"identitytoken":"t"}"#)), "identity t");
    check(Some(&encode(r#"{"registrytoken":"t"}"#)), "bearer t");
    check(Some(&encode(r#"{"auth":"YTpi"}"#)), "a:b");
    check(Some(&encode("{}")), "anonymous");
    check(Some(""), "anonymous");
    check(None, "anonymous");
    let refused = "error: invalid X-Registry-Auth header: it must be base64 of JSON";
    check(Some("%%%"), refused);
    check(Some(&encode("[1]x")), refused);
}
