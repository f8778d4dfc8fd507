use super::*;

#[test]
fn a_token_covers_the_tags_repositories() {
    let found = repositories("tag=127.0.0.1%3A5000%2Fteam%2Fapp%3A1&push=1&tag=app").unwrap();
    let names: Vec<_> = found.iter().map(Repository::as_str).collect();
    assert_eq!(names, ["team/app", "library/app"]);
    assert!(repositories("tag=..%2Fetc").is_err());
    assert!(repositories("").unwrap().is_empty());
}

#[test]
fn trusted_headers_cannot_be_sent_by_a_client() {
    let mut headers = HeaderMap::new();
    headers.insert(CALLER, HeaderValue::from_static("admin"));
    headers.insert(TOKEN, HeaderValue::from_static("x"));
    headers.insert("upgrade", HeaderValue::from_static("h2c"));
    headers.insert(
        "content-type",
        HeaderValue::from_static("application/x-tar"),
    );
    strip(&mut headers);
    assert_eq!(headers.len(), 1);
}
