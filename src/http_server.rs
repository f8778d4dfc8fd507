//! The accept loop of the front and of the builder's sockets: HTTP/1.1 and
//! HTTP/2 on one listener, bounded headers in time, drained at the end.

use std::{convert::Infallible, future::Future, io, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

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

/// Serves until `stop` resolves, then lets running requests finish for at most
/// `grace`.
pub async fn serve<L: Accept>(
    listener: L,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
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
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok(stream) => {
                let service = TowerToHyperService::new(into_service(router.clone()));
                let connection = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .into_owned();
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
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
    }
    if tokio::time::timeout(grace, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish within {grace:?}");
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

/// Resolves when the process is told to stop: by SIGTERM, SIGINT or a
/// supervisor that is gone.
#[derive(Clone, Debug)]
pub struct Stop(tokio::sync::watch::Receiver<bool>);

/// Triggers its [`Stop`]s.
#[derive(Clone, Debug)]
pub struct StopSender(std::sync::Arc<tokio::sync::watch::Sender<bool>>);

impl StopSender {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Watches the signals of this process; needs a runtime.
    pub fn new() -> io::Result<(StopSender, Self)> {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, receiver) = tokio::sync::watch::channel(false);
        let sender = StopSender(std::sync::Arc::new(sender));
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
        Ok((sender, Self(receiver)))
    }

    pub async fn stopped(mut self) {
        // A sender that is gone means that nothing is left to serve for.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
