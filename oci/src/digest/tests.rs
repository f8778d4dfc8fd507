use super::*;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn hashes_and_prints() {
    assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
    assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::sha256(b""));
}

#[test]
fn column_round_trips() {
    let digest = Digest::sha256(b"x");
    assert_eq!(digest.to_column().len(), 33);
    assert_eq!(Digest::from_column(&digest.to_column()), Some(digest));
    assert_eq!(Digest::from_column(&[]), None);
    assert_eq!(Digest::from_column(&[9; 33]), None);
}

#[test]
fn refuses_confusable_forms() {
    for bad in [
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:../../etc/passwd",
    ] {
        assert!(bad.parse::<Digest>().is_err(), "{bad:?} must not parse");
    }
}
