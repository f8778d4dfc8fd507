use super::*;

#[test]
fn later_backends_are_refused_by_name() {
    let storage = |text: &str| Storage::parse(text).map_err(|error| error.to_string());
    assert_eq!(storage("/srv/b"), Ok(Storage::Directory("/srv/b".into())));
    assert_eq!(
        storage("file:///srv/b"),
        Ok(Storage::Directory("/srv/b".into()))
    );
    assert!(
        storage("s3://bucket/x")
            .unwrap_err()
            .contains("S3 comes with a later release")
    );
    assert!(
        storage("gs://bucket")
            .unwrap_err()
            .contains("not understood")
    );

    let database = |text: &str| DatabaseUrl::parse(text).map_err(|error| error.to_string());
    assert_eq!(
        database("sqlite:/a.db"),
        Ok(DatabaseUrl::Sqlite("/a.db".into()))
    );
    assert_eq!(
        database("sqlite:///a.db"),
        Ok(DatabaseUrl::Sqlite("/a.db".into()))
    );
    let refused = database("postgres://user:secret@db/x").unwrap_err();
    assert!(
        refused.contains("PostgreSQL comes with a later release"),
        "{refused}"
    );
    assert!(!refused.contains("secret"), "{refused}");
    assert!(database("sqlite::memory:").is_err());
    assert!(
        database("mysql://x")
            .unwrap_err()
            .contains("not understood")
    );
}
