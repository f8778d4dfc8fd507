use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::{auth::ResourceKind, endpoint::Action};

fn tokens() -> (Tokens, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::open(directory.path()).unwrap();
    (Tokens::new(key), directory)
}

fn claims() -> Value {
    let now = unix_seconds();
    json!({
        "iss": "carrack", "sub": "admin", "aud": "carrack", "exp": now + 60, "nbf": now - 1,
        "iat": now, "jti": "x", "uid": 1,
        "access": [{"type": "repository", "name": "a", "actions": ["pull"]}],
    })
}

fn header(tokens: &Tokens) -> Value {
    json!({"typ": "JWT", "alg": "ES256", "kid": tokens.key.id})
}

/// Signs any JSON with the registry's own key, so that only the content decides.
fn sign(tokens: &Tokens, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &tokens.key.encoding, Algorithm::ES256)
            .unwrap();
    format!("{message}.{signature}")
}

#[test]
fn issued_tokens_verify_and_carry_their_grants() {
    let (tokens, directory) = tokens();
    let grants = vec![Grant::all_repositories(Action::Pull)];
    let token = tokens.issue("admin", Some(7), grants.clone(), Duration::from_secs(60));
    for _ in 0..2 {
        let caller = tokens.verify(&token).unwrap();
        assert_eq!(
            (caller.subject.as_str(), caller.user_id),
            ("admin", Some(7))
        );
        assert_eq!(caller.grants, grants);
    }
    // The key is the same after a restart.
    let reopened = Tokens::new(SigningKey::open(directory.path()).unwrap());
    assert!(reopened.verify(&token).is_ok());
}

#[test]
fn a_good_token_made_by_hand_verifies() {
    let (tokens, _directory) = tokens();
    let token = sign(&tokens, &header(&tokens), &claims());
    let caller = tokens.verify(&token).unwrap();
    assert_eq!(caller.grants[0].kind, ResourceKind::Repository);
}

#[test]
fn claims_that_are_not_ours_are_refused() {
    let (tokens, _directory) = tokens();
    let now = unix_seconds();
    let check = |name: &str, value: Value, expected: TokenError| {
        let mut changed = claims();
        match value {
            Value::Null => {
                changed.as_object_mut().unwrap().remove(name);
            }
            value => changed[name] = value,
        }
        let token = sign(&tokens, &header(&tokens), &changed);
        assert_eq!(
            tokens.verify(&token),
            Err(expected),
            "{name} = {}",
            changed[name]
        );
    };
    use TokenError::{Expired, Invalid};
    check("exp", json!(now - 1), Expired);
    check("exp", json!("9999999999"), Invalid);
    check("exp", json!(9999999999.5), Invalid);
    check("exp", json!([9999999999u64]), Invalid);
    check("nbf", json!(now + 1000), Invalid);
    check("nbf", json!("0"), Invalid);
    check("aud", json!("other"), Invalid);
    check("iss", json!("other"), Invalid);
    check("access", json!("repository:a:pull"), Invalid);
    check(
        "access",
        json!([{"type": "plugin", "name": "a", "actions": []}]),
        Invalid,
    );
    for missing in ["exp", "nbf", "iat", "aud", "iss", "sub", "access"] {
        check(missing, Value::Null, Invalid);
    }
}

#[test]
fn headers_that_are_not_ours_are_refused() {
    let (tokens, _directory) = tokens();
    let check = |name: &str, value: Value| {
        let mut changed = header(&tokens);
        changed[name] = value;
        let token = sign(&tokens, &changed, &claims());
        assert_eq!(tokens.verify(&token), Err(TokenError::Invalid), "{changed}");
    };
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"});
    check("jwk", jwk);
    check("jku", json!("https://example.com/keys"));
    check("x5u", json!("https://example.com/cert"));
    check("x5c", json!(["AA=="]));
    check("crit", json!(["exp"]));
    check("kid", json!("another"));
    check("kid", Value::Null);
    check("typ", json!("refresh"));
    check("alg", json!("none"));
    check("alg", json!("HS256"));
    check("alg", json!("RS256"));
    check("alg", json!("ES384"));
}

#[test]
fn signatures_that_are_not_ours_are_refused() {
    let (tokens, directory) = tokens();
    let good = sign(&tokens, &header(&tokens), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let public = directory.path().join("token.p8");
    let hmac = EncodingKey::from_secret(&std::fs::read(public).unwrap());
    let hs256 = jsonwebtoken::crypto::sign(message.as_bytes(), &hmac, Algorithm::HS256).unwrap();
    let (other, _other_directory) = self::tokens();
    let forged = [
        format!("{message}."),
        format!("{message}.{hs256}"),
        format!("{message}.{}", signature.to_uppercase()),
        sign(&other, &header(&tokens), &claims()),
        sign(&other, &header(&other), &claims()),
        message.to_owned(),
        format!("{good}.x"),
        ".".repeat(1_000_000),
        "a".repeat(100_000),
        "é.é.é".to_owned(),
        String::new(),
    ];
    for token in forged {
        let shown: String = token.chars().take(60).collect();
        assert_eq!(tokens.verify(&token), Err(TokenError::Invalid), "{shown}");
    }
}
