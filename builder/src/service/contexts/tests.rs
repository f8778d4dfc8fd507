use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};

use super::{Contexts, is_archive};
use crate::service::error::ApiError;

fn header() -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..4].copy_from_slice(b"file");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[test]
fn archives_are_told_from_other_bytes() {
    let check = |head: &[u8], expected| assert_eq!(is_archive(head), expected);
    check(&header(), true);
    check(&[0; 512], true);
    check(&[0x1f, 0x8b, 8], true);
    check(&[0x28, 0xb5, 0x2f, 0xfd], true);
    check(b"", false);
    check(b"FROM busybox\n", false);
    check(&[b'x'; 512], false);
    let mut broken = header();
    broken[0] ^= 1;
    check(&broken, false);
}

fn body(pieces: Vec<Result<Vec<u8>, std::io::Error>>) -> Body {
    let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from));
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn a_stored_context_is_whole_and_a_refused_one_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::open(dir.path().to_owned(), 2048).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };

    contexts
        .store("a", body(vec![Ok(header()), Ok(vec![0; 1024])]))
        .await
        .unwrap();
    assert_eq!(std::fs::read(contexts.tarball("a")).unwrap().len(), 1536);

    for (pieces, expected) in [
        (vec![Ok(header()), Ok(vec![0; 2048])], "larger than 2048"),
        (vec![Ok(b"FROM x".to_vec())], "not a tar archive"),
        (
            vec![Ok(header()), Err(std::io::Error::other("reset"))],
            "ended early",
        ),
    ] {
        let error = contexts.store("b", body(pieces)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(names(), ["a.tar"]);
    }

    std::fs::create_dir(contexts.tree("a")).unwrap();
    contexts.sweep(&["a".to_owned()].into()).unwrap();
    assert_eq!(names(), ["a.tar"]);
    contexts.sweep(&[].into()).unwrap();
    assert!(names().is_empty());
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut contexts = Contexts::open(dir.path().to_owned(), 2048).unwrap();
    contexts.idle_max = Duration::from_millis(10);
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(header()))]);
    let stalled = Body::from_stream(first.chain(stream::pending()));
    let error = contexts.store("a", stalled).await.unwrap_err();
    assert!(matches!(error, ApiError::UploadStalled(_)), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
