//! The registry client against servers that lie, break off, or want its secrets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci::{
    Descriptor, Digest, MediaType, Reference,
    client::{Client, ClientConfig, ClientError, Credentials, Patience},
};

use crate::harness::noise;

/// What a fake server was asked: method, path and `Authorization`.
type Seen = Arc<Mutex<Vec<(String, String, Option<String>)>>>;

/// Answers every request by a function and remembers what it was asked.
async fn fake(
    answer: impl Fn(&Request, SocketAddr) -> Response + Clone + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| {
        let header = request.headers().get("authorization");
        noted.lock().unwrap().push((
            request.method().to_string(),
            request.uri().to_string(),
            header.map(|value| value.to_str().unwrap().to_owned()),
        ));
        let response = answer(&request, address);
        async move {
            // Lets the client finish sending, so that it hears the answer.
            drop(axum::body::to_bytes(request.into_body(), usize::MAX).await);
            response
        }
    });
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body.into()).unwrap()
}

/// As patient as any, and quicker at it.
fn client() -> Client {
    let patience = Patience {
        first_wait: Duration::from_millis(1),
        ..Patience::default()
    };
    Client::new(ClientConfig {
        patience,
        ..ClientConfig::default()
    })
    .unwrap()
}

fn login() -> Credentials {
    Credentials::Basic {
        user: "user".to_owned(),
        password: "secret".to_owned(),
    }
}

fn reference(address: SocketAddr) -> Reference {
    format!("{address}/a:b").parse().unwrap()
}

fn secrets(seen: &Seen) -> Vec<String> {
    let seen = seen.lock().unwrap();
    seen.iter()
        .filter_map(|(_, _, secret)| secret.clone())
        .collect()
}

/// I1: a realm elsewhere gets no password; an anonymous caller may still ask it.
#[tokio::test]
async fn a_foreign_realm_gets_no_password() {
    let (thief, stolen) = fake(|_, _| answer(200, &[], "{\"token\":\"t\"}")).await;
    for realm in [
        format!("http://localhost:{}/token", thief.port()),
        format!("http://127.0.0.1.example.com:{}/token", thief.port()),
        format!("http://user:pw@127.0.0.1:{}/token", thief.port()),
        "ftp://127.0.0.1/token".to_owned(),
        "/\\[bad".to_owned(),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
        let (address, _) = fake(move |request, _| match request.uri().path() {
            "/v2/" => answer(200, &[], ""),
            _ => answer(401, &[("www-authenticate", challenge.clone())], ""),
        })
        .await;
        let error = client()
            .resolve(&reference(address), &login())
            .await
            .unwrap_err();
        let safe = matches!(
            error,
            ClientError::Unsafe { .. } | ClientError::Protocol { .. }
        ) || matches!(
            error,
            ClientError::Unreachable { .. } | ClientError::BadCredentials { .. }
        );
        assert!(safe, "{realm}: {error}");
        assert!(secrets(&stolen).is_empty(), "{realm}");
    }
    assert!(stolen.lock().unwrap().is_empty(), "nothing is sent at all");
}

/// I2: neither redirects nor upload locations carry the secret to another origin.
#[tokio::test]
async fn secrets_do_not_follow_redirects_elsewhere() {
    let blob = noise(1, 1000);
    let bytes = Bytes::from(blob.clone());
    let (elsewhere, seen_there) = fake(move |request, address| match request.method().as_str() {
        "GET" if request.uri().path() == "/blob" => answer(200, &[], bytes.clone()),
        "PATCH" => answer(202, &[("location", format!("http://{address}/upload"))], ""),
        "PUT" => answer(201, &[], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let (address, seen) = fake(move |request, _| {
        let to = |path: &str| ("location", format!("http://{elsewhere}{path}"));
        match (request.method().as_str(), request.uri().path()) {
            (_, "/v2/") => answer(200, &[], ""),
            _ if request.headers().get("authorization").is_none() => {
                answer(401, &[("www-authenticate", "Basic realm=x".to_owned())], "")
            }
            ("GET", path) if path.contains("/blobs/") => answer(307, &[to("/blob")], ""),
            ("GET" | "HEAD", path) if path.contains("/manifests/") => {
                answer(302, &[to("/manifest")], "")
            }
            ("POST", _) => answer(202, &[to("/upload?state=1")], ""),
            _ => answer(404, &[], ""),
        }
    })
    .await;
    let (client, image) = (client(), reference(address));
    let descriptor = Descriptor::new("x", Digest::sha256(&blob), 1000);
    let got = client
        .blob(&image, &descriptor, &login())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(got, blob);
    assert!(
        client
            .resolve(&image, &login())
            .await
            .unwrap_err()
            .is_not_found()
    );
    let body = || stream::iter([Ok(Bytes::from(noise(1, 1000)))]);
    client
        .push_blob(
            &image,
            &descriptor.digest,
            1000,
            &Bytes::from(noise(1, 1000)),
            &login(),
        )
        .await
        .unwrap();
    let algorithm = oci::Algorithm::Sha256;
    client
        .push_blob_streamed(&image, algorithm, body(), &login())
        .await
        .unwrap();
    assert!(!secrets(&seen).is_empty());
    assert_eq!(secrets(&seen_there), Vec::<String>::new());
    let put = seen_there
        .lock()
        .unwrap()
        .iter()
        .find(|(m, ..)| m == "PUT")
        .cloned()
        .unwrap();
    assert!(
        put.1.starts_with("/upload?state=1&digest=sha256"),
        "{}",
        put.1
    );
}

/// Serves one blob, misbehaving as told by the request's number.
async fn check_blob(
    size: u64,
    digest: Digest,
    serve: impl Fn(&Request, usize) -> Response + Clone + Send + Sync + 'static,
) -> Result<Bytes, ClientError> {
    let count = Arc::new(Mutex::new(0));
    let (address, _) = fake(move |request, _| {
        if request.uri().path() == "/v2/" {
            return answer(200, &[], "");
        }
        let mut count = count.lock().unwrap();
        *count += 1;
        serve(request, *count)
    })
    .await;
    let descriptor = Descriptor::new("x", digest, size);
    let stream = client()
        .blob(&reference(address), &descriptor, &Credentials::Anonymous)
        .await?;
    stream.collect().await
}

#[tokio::test]
async fn blobs_that_are_not_what_was_asked_for() {
    let good = Bytes::from(noise(2, 100_000));
    let digest = Digest::sha256(&good);
    let serve = |bytes: Bytes| move |_: &Request, _| answer(200, &[], bytes.clone());
    let size = good.len() as u64;
    assert_eq!(
        check_blob(size, digest, serve(good.clone())).await.unwrap(),
        good
    );
    let flipped = Bytes::from([&good[..99_999], &[good[99_999] ^ 1]].concat());
    let error = check_blob(size, digest, serve(flipped)).await.unwrap_err();
    assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
    let long = Bytes::from([&good[..], b"x"].concat());
    let error = check_blob(size, digest, serve(long)).await.unwrap_err();
    assert!(
        error.to_string().contains("more bytes than the 100000"),
        "{error}"
    );
    // Shorter, and no more to be had by range.
    let short = good.slice(..50_000);
    let error = check_blob(size, digest, move |request: &Request, _| {
        match request.headers().contains_key("range") {
            true => answer(416, &[], ""),
            false => answer(200, &[], short.clone()),
        }
    })
    .await
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("only 50000 of 100000 bytes are there"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_download_is_continued() {
    let good = Bytes::from(noise(3, 100_000));
    let digest = Digest::sha256(&good);
    let whole = good.clone();
    let got = check_blob(100_000, digest, move |request: &Request, number| {
        let from = request.headers().get("range").map_or(0, |range| {
            let range = range.to_str().unwrap();
            range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap()
        });
        let rest = whole.slice(from..);
        let status = if from == 0 { 200 } else { 206 };
        if number < 4 {
            // Breaks off after a third of what is left.
            let part = rest.slice(..rest.len() / 3);
            let broken = stream::once(async {
                // Lets the first part leave before the connection breaks.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cable cut"))
            });
            let body = Body::from_stream(stream::iter([Ok(part)]).chain(broken));
            return answer(status, &[], body);
        }
        answer(status, &[], rest)
    })
    .await
    .unwrap();
    assert_eq!(got, good);
}

#[tokio::test]
async fn manifests_that_lie() {
    let check = async |headers: Vec<(&'static str, String)>, body: Bytes, by_digest: bool| {
        let (address, _) = fake(move |request, _| match request.uri().path() {
            "/v2/" => answer(200, &[], ""),
            _ => answer(200, &headers, body.clone()),
        })
        .await;
        let mut image = reference(address);
        if by_digest {
            image = image.with_digest(Digest::sha256(b"wanted"));
        }
        client().manifest(&image, &Credentials::Anonymous).await
    };
    let lie = (
        "docker-content-digest",
        Digest::sha256(b"other").to_string(),
    );
    let error = check(vec![lie], "{}".into(), false).await.unwrap_err();
    assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
    let error = check(vec![], "{}".into(), true).await.unwrap_err();
    assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
    let huge = Bytes::from(vec![b' '; 5 << 20]);
    let error = check(vec![], huge, false).await.unwrap_err();
    assert!(
        error.to_string().contains("at most 4194304 are allowed"),
        "{error}"
    );
    // Without a useful Content-Type the document says what it is.
    let index = format!("{{\"mediaType\":\"{}\"}}", MediaType::OCI_INDEX);
    let (media_type, _) = check(vec![], index.into(), false).await.unwrap();
    assert_eq!(media_type.as_str(), MediaType::OCI_INDEX);
}

#[tokio::test]
async fn redirects_and_failures_end() {
    let (address, seen) = fake(|request, address| match request.uri().path() {
        "/v2/" => answer(200, &[], ""),
        _ => answer(302, &[("location", format!("http://{address}/again"))], ""),
    })
    .await;
    let error = client()
        .resolve(&reference(address), &login())
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    assert!(seen.lock().unwrap().len() < 30);

    let (address, seen) = fake(|request, _| match request.uri().path() {
        "/v2/" => answer(200, &[], ""),
        _ => answer(503, &[], "<html>down</html>"),
    })
    .await;
    let error = client()
        .manifest(&reference(address), &login())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Server { status: 503, .. }),
        "{error}"
    );
    assert_eq!(seen.lock().unwrap().len(), 7, "a probe and six tries");

    let (address, _) = fake(|request, _| match request.uri().path() {
        "/v2/" => answer(200, &[], ""),
        _ => answer(429, &[("retry-after", "3600".to_owned())], ""),
    })
    .await;
    let error = client()
        .manifest(&reference(address), &login())
        .await
        .unwrap_err();
    let wait = Duration::from_secs(3600);
    assert!(
        matches!(error, ClientError::Throttled { retry_after: Some(w), .. } if w == wait),
        "{error}"
    );
}
