use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
    response::IntoResponse,
};
use futures_util::{Stream, StreamExt, stream};

use super::{Contexts, Pace, is_archive};
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

/// Stores a header and then `rest`, at a pace of `bytes` in 10 ms.
async fn at_pace(
    bytes: u64,
    rest: impl Stream<Item = Bytes> + Send + 'static,
) -> (Result<(), ApiError>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut contexts = Contexts::open(dir.path().to_owned(), u64::MAX).unwrap();
    contexts.pace_min = Pace {
        bytes,
        within: Duration::from_millis(10),
    };
    let first = stream::iter([Bytes::from(header())]);
    let pieces = first.chain(rest).map(Ok::<_, std::io::Error>);
    let stored = contexts.store("a", Body::from_stream(pieces)).await;
    (stored, std::fs::read_dir(dir.path()).unwrap().count())
}

/// Single bytes, each of them waited for.
fn drips() -> impl Stream<Item = Bytes> + Send {
    stream::repeat(()).then(|()| async {
        tokio::task::yield_now().await;
        Bytes::from_static(b"x")
    })
}

#[tokio::test]
async fn an_upload_that_stands_still_or_drips_is_given_up() {
    for stopped in [true, false] {
        let (stored, files) = match stopped {
            true => at_pace(1024, stream::pending()).await,
            false => at_pace(u64::MAX, drips()).await,
        };
        let error = stored.unwrap_err();
        assert!(matches!(error, ApiError::UploadSlow { .. }), "{error}");
        let answer = error.into_response();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(files, 0);
    }
}

#[tokio::test]
async fn an_upload_that_goes_on_may_take_its_time() {
    let began = std::time::Instant::now();
    let long = drips().take_while(move |_| {
        let more = began.elapsed() < Duration::from_millis(50);
        async move { more }
    });
    let (stored, files) = at_pace(1, long).await;
    stored.unwrap();
    assert_eq!(files, 1);
}
