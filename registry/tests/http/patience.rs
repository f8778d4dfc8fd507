//! The registry client with a registry that is busy, restarts, or comes late, and
//! with lines that break.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use oci::{
    Descriptor, Digest, MediaType, Reference,
    client::{Client, ClientConfig, ClientError, Credentials, Patience, RemoteSource},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

use crate::harness::{PASSWORD, Server, image_manifest, noise};

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
        user: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn reference(address: SocketAddr, name: &str) -> Reference {
    format!("{address}/{name}").parse().unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

/// What the registry says instead of answering, by the number of the request
/// among those of its kind; `None` lets it pass.
type Refuse = fn(usize) -> Option<(u16, Option<&'static str>)>;

/// How often each kind of request came.
type Counts = Arc<Mutex<HashMap<&'static str, usize>>>;

#[derive(Clone)]
struct Gate {
    refuse: Refuse,
    counts: Counts,
}

fn kind(request: &Request) -> &'static str {
    let path = request.uri().path();
    let uploads = path.contains("/blobs/uploads/");
    match request.method().as_str() {
        _ if path == "/v2/" => "probe",
        "POST" if path == "/auth/token" => "token",
        "POST" => "start",
        "GET" if uploads => "status",
        "PUT" if uploads => "upload",
        "PUT" => "put manifest",
        "HEAD" => "head",
        _ if path.contains("/manifests/") => "manifest",
        _ => "blob",
    }
}

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let kind = kind(&request);
    let number = {
        let mut counts = gate.counts.lock().unwrap();
        let count = counts.entry(kind).or_default();
        *count += 1;
        *count
    };
    let Some((status, retry_after)) = (gate.refuse)(number).filter(|_| kind != "probe") else {
        return next.run(request).await;
    };
    let status = http::StatusCode::from_u16(status).unwrap();
    match retry_after {
        Some(wait) => (status, [("retry-after", wait)]).into_response(),
        None => status.into_response(),
    }
}

/// Pushes and pulls an image through a registry that refuses now and then.
async fn through(refuse: Refuse) -> (Result<(), ClientError>, HashMap<&'static str, usize>) {
    let server = Server::start().await;
    let counts = Counts::default();
    let gate = Gate {
        refuse,
        counts: Arc::clone(&counts),
    };
    let router = server.registry.router();
    let address = serve(router.layer(from_fn_with_state(gate, pass))).await;
    let image = reference(address, "team/app:v1");
    let result = push_and_pull(&client(), &image).await;
    let counts = counts.lock().unwrap().clone();
    server.stop().await;
    (result, counts)
}

async fn push_and_pull(client: &Client, image: &Reference) -> Result<(), ClientError> {
    let (config, layer) = (Bytes::from_static(b"{}"), Bytes::from(noise(1, 3_000_000)));
    for blob in [&config, &layer] {
        let size = blob.len() as u64;
        client
            .push_blob(image, &Digest::sha256(blob), size, blob, &login())
            .await?;
    }
    let manifest = Bytes::from(image_manifest(&config, &[&layer]));
    let media_type = MediaType::from(MediaType::OCI_MANIFEST);
    client
        .push_manifest(image, &media_type, manifest.clone(), &login())
        .await?;
    assert_eq!(client.manifest(image, &login()).await?.1, manifest);
    let size = layer.len() as u64;
    let descriptor = Descriptor::new(MediaType::OCI_LAYER_TAR, Digest::sha256(&layer), size);
    let stream = client.blob(image, &descriptor, &login()).await?;
    assert_eq!(stream.collect().await?, layer);
    Ok(())
}

#[tokio::test]
async fn a_busy_registry_is_waited_for() {
    // Every kind of request, and the token server, is refused twice before it is served.
    let (result, counts) = through(|number| match number {
        1 => Some((429, Some("0"))),
        2 => Some((503, None)),
        _ => None,
    })
    .await;
    result.unwrap();
    for (kind, at_least) in [
        ("token", 3),
        ("start", 4),
        ("upload", 4),
        ("put manifest", 3),
    ] {
        assert!(counts[kind] >= at_least, "{kind}: {counts:?}");
    }
}

#[tokio::test]
async fn patience_ends() {
    let (result, counts) = through(|_| Some((503, None))).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, ClientError::Server { status: 503, .. }),
        "{error}"
    );
    assert_eq!(counts["start"], 6);
    // A wait that is too long, and a failure that does not pass, are told at once.
    let (result, counts) = through(|_| Some((429, Some("61")))).await;
    let error = result.unwrap_err();
    let asked = Duration::from_secs(61);
    assert!(
        matches!(error, ClientError::Throttled { retry_after: Some(wait), .. } if wait == asked),
        "{error}"
    );
    assert_eq!(counts["start"], 1);
    let (result, counts) = through(|_| Some((507, None))).await;
    assert!(matches!(
        result.unwrap_err(),
        ClientError::Server { status: 507, .. }
    ));
    assert_eq!(counts["start"], 1);
}

/// Where a line breaks.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cut {
    /// After so many bytes towards the registry.
    Sending(u64),
    /// Once so many bytes went there, when the answer comes.
    Answer(u64),
}

/// A line to a registry that breaks as told, each break once.
struct Line {
    address: SocketAddr,
    cuts: Arc<Mutex<Vec<Cut>>>,
    sent_bytes: Arc<AtomicU64>,
}

impl Line {
    async fn to(registry: SocketAddr, cuts: &[Cut]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            cuts: Arc::new(Mutex::new(cuts.to_vec())),
            sent_bytes: Arc::default(),
        };
        let (cuts, sent_bytes) = (Arc::clone(&line.cuts), Arc::clone(&line.sent_bytes));
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(registry).await.unwrap();
                let (cuts, sent_bytes) = (Arc::clone(&cuts), Arc::clone(&sent_bytes));
                tokio::spawn(carry(near, far, cuts, sent_bytes));
            }
        });
        line
    }
}

/// Carries one connection until either end closes it or it is cut.
async fn carry(
    mut near: TcpStream,
    mut far: TcpStream,
    cuts: Arc<Mutex<Vec<Cut>>>,
    sent_bytes: Arc<AtomicU64>,
) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut sent = 0;
    let breaks = |due: &dyn Fn(Cut) -> bool| {
        let mut cuts = cuts.lock().unwrap();
        let first = cuts.first().copied().filter(|cut| due(*cut));
        first.map(|_| cuts.remove(0)).is_some()
    };
    loop {
        tokio::select! {
            read = near.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                sent += count as u64;
                sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
                if far.write_all(&up[..count]).await.is_err()
                    || breaks(&|cut| matches!(cut, Cut::Sending(after) if sent >= after))
                {
                    return;
                }
            }
            read = far.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if breaks(&|cut| matches!(cut, Cut::Answer(after) if sent >= after))
                    || near.write_all(&down[..count]).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() {
    let server = Server::start().await;
    let blob = Bytes::from(noise(2, 40_000_000));
    let (digest, size) = (Digest::sha256(&blob), blob.len() as u64);
    let cuts = [Cut::Sending(15_000_000), Cut::Sending(10_000_000)];
    let line = Line::to(server.address, &cuts).await;
    let image = reference(line.address, "team/app:v1");
    client()
        .push_blob(&image, &digest, size, &blob, &login())
        .await
        .unwrap();
    assert_eq!(*line.cuts.lock().unwrap(), []);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(server.get(&path).await.expect(200).body, blob);
    // What was on its way at a cut is sent again, the rest is not.
    let sent = line.sent_bytes.load(Ordering::Relaxed);
    assert!(sent < size + 20_000_000, "{sent} bytes for {size}");
    server.stop().await;
}

#[tokio::test]
async fn a_layer_of_another_registry_goes_on_as_well() {
    let (from, to) = (Server::start().await, Server::start().await);
    let blob = Bytes::from(noise(3, 20_000_000));
    let digest = from.push_blob("base", &blob).await;
    let line = Line::to(to.address, &[Cut::Sending(12_000_000)]).await;
    let source = RemoteSource {
        client: client(),
        repository: reference(from.address, "base:1"),
        blob: Descriptor::new(MediaType::OCI_LAYER_TAR, digest, blob.len() as u64),
        credentials: login(),
    };
    let image = reference(line.address, "team/app:v1");
    let size = blob.len() as u64;
    client()
        .push_blob(&image, &digest, size, &source, &login())
        .await
        .unwrap();
    assert_eq!(*line.cuts.lock().unwrap(), []);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(to.get(&path).await.expect(200).body, blob);
    // One that cannot be read there is told as such, and opens no session here.
    let absent = RemoteSource {
        blob: Descriptor::new(MediaType::OCI_LAYER_TAR, Digest::sha256(b"absent"), 6),
        ..source
    };
    let digest = absent.blob.digest;
    let error = client()
        .push_blob(&image, &digest, 6, &absent, &login())
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Source(_)), "{error}");
    assert!(error.to_string().contains("not found"), "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_push() {
    let server = Server::start().await;
    let blob = Bytes::from(noise(4, 3_000_000));
    let (digest, size) = (Digest::sha256(&blob), blob.len() as u64);
    let line = Line::to(server.address, &[Cut::Answer(size)]).await;
    let image = reference(line.address, "team/app:v1");
    client()
        .push_blob(&image, &digest, size, &blob, &login())
        .await
        .unwrap();
    assert_eq!(*line.cuts.lock().unwrap(), []);
    let sent = line.sent_bytes.load(Ordering::Relaxed);
    assert!(sent < size + 100_000, "sent once, not twice: {sent}");
    server.stop().await;
}

#[tokio::test]
async fn an_upload_whose_session_is_gone_begins_again() {
    let server = Server::start().await;
    let counts = Counts::default();
    let gate = Gate {
        refuse: |_| None,
        counts: Arc::clone(&counts),
    };
    let forgetful = server
        .registry
        .router()
        .layer(from_fn_with_state(gate, pass))
        .layer(axum::middleware::from_fn(
            |request: Request, next: Next| async {
                match kind(&request) {
                    "status" => http::StatusCode::NOT_FOUND.into_response(),
                    _ => next.run(request).await,
                }
            },
        ));
    let address = serve(forgetful).await;
    let line = Line::to(address, &[Cut::Sending(2_000_000)]).await;
    let image = reference(line.address, "team/app:v1");
    push_and_pull(&client(), &image).await.unwrap();
    assert_eq!(*line.cuts.lock().unwrap(), []);
    // One without a token, one for the configuration, two for the layer.
    assert_eq!(counts.lock().unwrap()["start"], 4);
    server.stop().await;
}

#[tokio::test]
async fn a_registry_that_starts_late_is_found() {
    // Bound and not listening: connections are refused, and nobody takes the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let image = reference(address, "team/app:v1");
    let patience = Patience {
        tries_max: u32::MAX,
        first_wait: Duration::from_millis(1),
        ..Patience::default()
    };
    let client = Client::new(ClientConfig {
        patience,
        ..ClientConfig::default()
    })
    .unwrap();
    let refused = Listener::hear_of(address);
    let pushed = tokio::spawn(async move { push_and_pull(&client, &image).await });
    refused.await.unwrap();
    let server = Server::start().await;
    let listener = socket.listen(16).unwrap();
    let router = server.registry.router();
    tokio::spawn(async {
        // Up, but not ready: the first connections break without an answer.
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        axum::serve(listener, router).await.unwrap();
    });
    pushed.await.unwrap().unwrap();
    server.stop().await;
}

/// Those who wait for the client to note that a failure of an address may pass.
static LISTENERS: Mutex<Vec<(String, oneshot::Sender<()>)>> = Mutex::new(Vec::new());

/// Hears what the client notes, in every thread: a subscriber of one thread misses
/// what another thread was first to reach.
struct Listener;

impl Listener {
    fn hear_of(address: SocketAddr) -> oneshot::Receiver<()> {
        // Set by whichever test comes first.
        let _ = tracing::subscriber::set_global_default(Self);
        let (told, hears) = oneshot::channel();
        LISTENERS.lock().unwrap().push((address.to_string(), told));
        hears
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "oci::client::patience"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(
            &mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                text.push_str(&format!("{value:?} "));
            },
        );
        let mut listeners = LISTENERS.lock().unwrap();
        while let Some(at) = listeners.iter().position(|(of, _)| text.contains(of)) {
            let _ = listeners.swap_remove(at).1.send(());
        }
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
