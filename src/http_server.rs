//! The accept loop of the front and of the builder's sockets: HTTP/1.1 and
//! HTTP/2 on one listener, bounded headers in time, drained at the end.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// A client that has not sent its headers after this long is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2 windows that do not throttle blobs, in bytes.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Something that yields connections.
pub trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        let (stream, _) = Self::accept(self).await?;
        // Small answers must not wait for the peer's delayed ACK.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// Serves until `stop` resolves to the time that running requests get to
/// finish; those that take longer are dropped with their connections.
pub async fn serve<L: Accept>(listener: L, router: Router, stop: impl Future<Output = Duration>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let connections = GracefulShutdown::new();
    let given_up = CancellationToken::new();
    let mut stop = std::pin::pin!(stop);
    let grace = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            grace = &mut stop => break grace,
        };
        match accepted {
            Ok(stream) => {
                let service = TowerToHyperService::new(into_service(router.clone()));
                let connection = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .into_owned();
                let connection = connections.watch(connection);
                let given_up = given_up.clone();
                tokio::spawn(async move {
                    // What is dropped lets go of what its request held.
                    let ended = given_up.run_until_cancelled(connection).await;
                    if let Some(Err(error)) = ended {
                        tracing::debug!("connection ended: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors or memory: let some connections end first.
                tracing::warn!("could not accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    if tokio::time::timeout(grace, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish within {grace:?}");
        given_up.cancel();
    }
}

/// The router over hyper's body type.
fn into_service(
    router: Router,
) -> impl tower::Service<
    http::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    tower::ServiceExt::map_request(router, |request: http::Request<hyper::body::Incoming>| {
        request.map(axum::body::Body::new)
    })
}

/// Resolves when the process is told to stop: by SIGTERM, SIGINT, or a
/// supervisor that says so or is gone. The value is the time that running
/// requests get to finish.
#[derive(Clone, Debug)]
pub struct Stop {
    told: watch::Receiver<Option<Duration>>,
    grace: Duration,
}

/// Triggers its [`Stop`]s.
#[derive(Clone, Debug)]
pub struct StopSender {
    told: Arc<watch::Sender<Option<Duration>>>,
    grace: Duration,
}

impl StopSender {
    pub fn stop(&self) {
        self.stop_within(self.grace);
    }

    /// The first word counts.
    pub fn stop_within(&self, grace: Duration) {
        self.told.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(grace);
            first
        });
    }
}

impl Stop {
    /// One that its sender alone triggers.
    pub fn by_hand(grace: Duration) -> (StopSender, Self) {
        let (sender, told) = watch::channel(None);
        let sender = StopSender {
            told: Arc::new(sender),
            grace,
        };
        (sender, Self { told, grace })
    }

    /// Watches the signals of this process, which give `grace`; needs a runtime.
    pub fn new(grace: Duration) -> io::Result<(StopSender, Self)> {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, stop) = Self::by_hand(grace);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let on_signal = sender.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            on_signal.stop();
        });
        Ok((sender, stop))
    }

    pub async fn stopped(mut self) -> Duration {
        // A sender that is gone means that nothing is left to serve for.
        let told = self.told.wait_for(Option::is_some).await;
        told.ok().and_then(|told| *told).unwrap_or(self.grace)
    }
}
