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

#[test]
fn random_texts_are_long_and_plain() {
    let text = random_text(1000);
    assert_eq!(text.len(), 1000);
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_ne!(random_text(24), random_text(24));
}
