//! Against a real HTTP server on a unix socket, one connection per request.

use std::{convert::Infallible, path::PathBuf};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::*;

/// Serves until dropped.
struct Server {
    dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper::service::service_fn(answer);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades(),
                );
            }
        });
        Self { dir, task }
    }

    fn engine(&self) -> Engine {
        Engine::new(
            Endpoint::Unix(self.dir.path().join("engine.sock")),
            None,
            false,
        )
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri().to_string();
    let (status, body) = match request.uri().path() {
        "/echo" => {
            let body = request.body_mut().collect().await.unwrap().to_bytes();
            let text = serde_json::json!({"uri": uri, "body": String::from_utf8_lossy(&body)});
            (200, text.to_string())
        }
        "/lines" => (
            200,
            "{\"id\":\"a\"}\r\n\r\n{\"id\":\"b\"}\n{\"id\":\"c\"}".to_owned(),
        ),
        "/same" => (304, String::new()),
        "/plain" => (500, "it broke\n".to_owned()),
        "/hijack" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                // Output must still flow after the client's half-close.
                let mut input = Vec::new();
                io.read_to_end(&mut input).await.unwrap();
                input.reverse();
                io.write_all(&input).await.unwrap();
                io.shutdown().await.unwrap();
            });
            let response = Response::builder()
                .status(101)
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp");
            return Ok(response.body(Full::default()).unwrap());
        }
        path => (
            404,
            serde_json::json!({"message": format!("No such thing: {path}")}).to_string(),
        ),
    };
    Ok(Response::builder()
        .status(status)
        .body(Full::from(body))
        .unwrap())
}

#[tokio::test]
async fn requests_carry_query_and_body_and_errors_their_message() {
    let server = Server::start();
    let engine = server.engine();
    let mut filters = Filters::parse(&["label=a=b".to_owned()]).unwrap();
    filters.add("label", "c");
    let query = Query::new()
        .with("name", "a b&c")
        .flag("all", true)
        .flag("no", false)
        .filters(&filters);
    let call = Call::query(query).json(&serde_json::json!({"x": 1}));
    let echo: serde_json::Value = engine.json(Method::POST, "/echo", call).await.unwrap();
    assert_eq!(echo["body"], r#"{"x":1}"#);
    assert_eq!(
        echo["uri"],
        "/echo?name=a%20b%26c&all=1&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%2C%22c%22%3Atrue%7D%7D"
    );

    let missing = engine
        .bytes(
            Method::GET,
            &format!("/x/{}", segment("a b?/c")),
            Call::default(),
        )
        .await;
    let error = missing.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Error response from daemon: No such thing: /x/a%20b%3F/c"
    );
    assert_eq!(error.status(), Some(404));
    let error = engine
        .bytes(Method::GET, "/plain", Call::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "Error response from daemon: it broke");
    assert!(
        !engine
            .command(Method::POST, "/same", Call::default())
            .await
            .unwrap()
    );
    assert!(engine.hijack("/echo", Call::default()).await.is_err());
}

#[tokio::test]
async fn lines_are_split_and_the_last_may_be_open() {
    let server = Server::start();
    let response = server
        .engine()
        .stream(Method::GET, "/lines", Call::default())
        .await
        .unwrap();
    let mut lines = JsonLines::new(response.into_body());
    let mut ids = Vec::new();
    while let Some(value) = lines.next::<serde_json::Value>().await.unwrap() {
        ids.push(value["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_hijacked_stream_can_be_half_closed() {
    let server = Server::start();
    let mut hijacked = server
        .engine()
        .hijack("/hijack", Call::default())
        .await
        .unwrap();
    hijacked.io.write_all(b"abc").await.unwrap();
    hijacked.io.shutdown().await.unwrap();
    let mut output = Vec::new();
    hijacked.io.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, b"cba");
}

#[tokio::test]
async fn a_missing_engine_is_explained() {
    let endpoint = Endpoint::Unix(PathBuf::from("/nonexistent/engine.sock"));
    let engine = Engine::new(endpoint, None, false);
    let error = engine
        .bytes(Method::GET, "/_ping", Call::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("Cannot connect to the engine at unix:///nonexistent/engine.sock: there is no such socket."), "{error}");
    assert!(error.contains("carrack serve"), "{error}");
}

#[test]
fn addresses() {
    for (text, expected) in [
        ("unix:///run/x.sock", Some("unix:///run/x.sock")),
        ("/run/x.sock", Some("unix:///run/x.sock")),
        ("tcp://127.0.0.1:2375", Some("tcp://127.0.0.1:2375")),
        ("tcp://localhost", Some("tcp://localhost:2375")),
        ("http://[::1]:80/", Some("tcp://[::1]:80")),
        ("unix://relative", None),
        ("ssh://host", None),
        ("https://host", None),
        ("host:2375", None),
        ("ftp://host", None),
        ("tcp://a b", None),
    ] {
        let parsed = Endpoint::parse(text)
            .ok()
            .map(|endpoint| endpoint.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }
}
