use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

#[test]
fn challenges() {
    let bearer = |realm: &str, service: Option<&str>| {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    };
    for (header, expected) in [
        ("Basic realm=\"x\"", Some(Challenge::Basic)),
        (
            "Bearer realm=\"https://a/token\",service=\"reg, istry\", scope=\"x\"",
            bearer("https://a/token", Some("reg, istry")),
        ),
        (
            "bearer realm=https://a/token",
            bearer("https://a/token", None),
        ),
        ("Bearer service=\"x\"", None),
        ("Bearer realm=\"open", None),
        ("Digest x", None),
        ("", None),
    ] {
        assert_eq!(Challenge::parse(header), expected, "{header}");
    }
}

#[test]
fn the_password_goes_to_the_registrys_own_site_only() {
    for (base, realm, fine) in [
        (
            "https://registry.example.com",
            "https://auth.example.com/token",
            true,
        ),
        (
            "https://registry.example.com",
            "https://registry.example.com:8443/token",
            true,
        ),
        (
            "https://registry-1.docker.io",
            "https://auth.docker.io/token",
            true,
        ),
        (
            "http://127.0.0.1:5000",
            "http://127.0.0.1:5000/auth/token",
            true,
        ),
        (
            "https://registry.example.com",
            "https://evil.com/token",
            false,
        ),
        (
            "https://registry.example.com",
            "https://example.com.evil.com/token",
            false,
        ),
        (
            "https://registry.example.com",
            "http://registry.example.com/token",
            false,
        ),
        (
            "https://registry.example.com",
            "https://10.0.0.1/token",
            false,
        ),
        (
            "https://registry.example.com",
            "https://u:p@registry.example.com/token",
            false,
        ),
        (
            "http://127.0.0.1:5000",
            "http://127.0.0.1:6000/token",
            false,
        ),
        ("https://registry.example.com", "not a url", false),
    ] {
        assert_eq!(check_realm(base, realm).is_ok(), fine, "{base} {realm}");
    }
}

/// A registry that answers each request by its path, one per connection.
async fn registry(user: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let host = address.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let expected = format!("authorization: Basic {user}");
            let answer = if head.starts_with("GET /v2/ ") {
                format!(
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"me\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
            } else if head.starts_with("GET /token?")
                && head.contains("service=me")
                && head.contains(&expected)
            {
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_owned()
            } else {
                let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"no such user"}]}"#;
                format!(
                    "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_token_service_decides() {
    // base64 of a:b
    let address = registry("YTpi").await;
    verify(&address, "a", "b").await.unwrap();
    let error = verify(&address, "a", "wrong")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("login to {address} failed: unauthorized: no such user")
    );
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = verify(&address, "a", "b").await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot reach the registry {address}: ")),
        "{error}"
    );
}
