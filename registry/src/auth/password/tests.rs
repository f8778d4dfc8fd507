use super::*;

/// G8: a user that does not exist costs the same full hash as one that does.
#[test]
fn the_decoy_costs_what_a_password_costs() {
    let cost = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
    assert_eq!(cost(DECOY), cost(&hash("x").unwrap()));
    assert!(
        PasswordHash::new(DECOY).is_ok(),
        "it is computed, not skipped"
    );
    for guess in ["", "x", "no user has this password"] {
        assert!(!matches(DECOY, guess));
    }
}

#[test]
fn passwords_match_themselves_only() {
    let stored = hash("correct horse").unwrap();
    assert!(matches(&stored, "correct horse"));
    assert!(!matches(&stored, "correct hors"));
    assert!(!matches("not a hash", "correct horse"));
    assert_ne!(stored, hash("correct horse").unwrap(), "salted");
}

/// What others write is read, and they read what we write.
#[test]
fn hashes_are_the_standard_form() {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};
    let theirs = Argon2::default().hash_password(b"x").unwrap().to_string();
    assert!(matches(&theirs, "x") && !matches(&theirs, "y"));
    let ours = hash("x").unwrap();
    let parsed = PasswordHash::new(&ours).unwrap();
    assert!(Argon2::default().verify_password(b"x", &parsed).is_ok());
}

#[test]
fn random_texts_are_long_and_plain() {
    let text = random_text(1000);
    assert_eq!(text.len(), 1000);
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_ne!(random_text(24), random_text(24));
}
