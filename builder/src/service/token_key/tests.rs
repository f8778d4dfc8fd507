use std::{os::unix::fs::PermissionsExt, path::Path};

use builder_proto::api::BuildOptions;
use sqlx::Connection;

use super::{TokenKey, TokenKeyError};
use crate::db::{Db, NewBuild};

async fn db(dir: &Path) -> Db {
    Db::open(&dir.join("builder.db")).await.unwrap()
}

async fn open(dir: &Path) -> Result<TokenKey, TokenKeyError> {
    let db = db(dir).await;
    let key = TokenKey::open(dir, &db).await;
    db.close().await;
    key
}

#[tokio::test]
async fn a_token_is_opened_by_its_key_for_its_build_only() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = open(dir.path()).await.unwrap();
    let sealed = key.seal("a", "secret");
    assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
    assert_ne!(sealed, key.seal("a", "secret"), "a nonce is used once");
    let again = open(dir.path()).await.unwrap();
    assert_eq!(again.open_token("a", &sealed).unwrap(), "secret");

    let refused = |key: &TokenKey, id: &str, sealed: &[u8]| {
        let error = key.open_token(id, sealed).unwrap_err().to_string();
        assert!(error.contains(&format!("build {id} ")), "{error}");
    };
    refused(&key, "b", &sealed);
    for at in 0..sealed.len() {
        let mut broken = sealed.clone();
        broken[at] ^= 1;
        refused(&key, "a", &broken);
        refused(&key, "a", &sealed[..at]);
    }
    refused(&open(other.path()).await.unwrap(), "a", &sealed);
}

#[tokio::test]
async fn the_key_is_private_and_any_other_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token.key");
    let sealed = open(dir.path()).await.unwrap().seal("a", "secret");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let good = std::fs::read(&path).unwrap();

    let long = [good.as_slice(), b"\n"].concat();
    for (bytes, expected) in [
        (&b""[..], "is damaged"),
        (&good[1..], "is damaged"),
        (&long, "is damaged"),
        (&[7; 32], "is not the one that belongs to builder.db"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("or remove"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "left as it was");
    }

    std::fs::write(&path, good).unwrap();
    let key = open(dir.path()).await.unwrap();
    assert_eq!(key.open_token("a", &sealed).unwrap(), "secret");

    // A key that is lost is replaced, and the next start takes the new one.
    std::fs::remove_file(&path).unwrap();
    open(dir.path()).await.unwrap();
    let key = open(dir.path()).await.unwrap();
    assert!(key.open_token("a", &sealed).is_err());
}

/// Whether any file below `dir` holds `text`.
fn holds(dir: &Path, text: &[u8]) -> bool {
    let mut entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.any(|entry| {
        let bytes = std::fs::read(entry.path()).unwrap();
        bytes.windows(text.len()).any(|bytes| bytes == text)
    })
}

#[tokio::test]
async fn plain_tokens_of_an_earlier_version_are_sealed_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(dir.path()).await;
    for id in ["a", "b"] {
        let build = NewBuild {
            id,
            options: &BuildOptions::default(),
            created_by: "local",
            sealed_token: None,
        };
        assert!(db.system_enqueue(&build, 9).await.unwrap());
    }
    db.close().await;
    // As that version did: one build waits, the other has ended.
    let url = format!("sqlite:{}", dir.path().join("builder.db").display());
    let mut plain = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for change in [
        "UPDATE builds SET registry_token = 'plain-token-of-' || id",
        "UPDATE builds SET registry_token = NULL, state = 'succeeded' WHERE id = 'b'",
    ] {
        sqlx::query(change).execute(&mut plain).await.unwrap();
    }
    // Not closed yet: the log still holds what was overwritten, as after a crash.
    assert!(holds(dir.path(), b"plain-token-of-a"));
    assert!(holds(dir.path(), b"plain-token-of-b"));

    let db = self::db(dir.path()).await;
    let key = TokenKey::open(dir.path(), &db).await.unwrap();
    assert!(!holds(dir.path(), b"plain-token-of-"));
    let row = db.system_build("a").await.unwrap().unwrap();
    let token = key.open_token("a", &row.sealed_token.unwrap()).unwrap();
    assert_eq!(token, "plain-token-of-a");
    plain.close().await.unwrap();
}
