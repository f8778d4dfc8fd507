//! The accept loop: HTTP/1.1 with upgrades and half-closed clients, and
//! HTTP/2 without TLS, on a unix socket.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::io::Connection;
use super::{request::Request, route};
use crate::core::Core;

/// Pause after an accept that failed, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves to the time that open requests then get to
/// end.
///
/// # Errors
/// Of the listener itself; single connections never end the loop.
pub(crate) async fn serve(
    core: &Arc<Core>,
    listener: UnixListener,
    shutdown: impl Future<Output = Duration>,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    let grace = loop {
        tokio::select! {
            grace = &mut shutdown => break grace,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(core), stream, closing.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    };
    closing.cancel();
    core.closing.cancel();
    connections.close();
    let _ = tokio::time::timeout(grace, connections.wait()).await;
    Ok(())
}

async fn connection(core: Arc<Core>, stream: UnixStream, closing: CancellationToken) {
    let opened = tokio::select! {
        () = closing.cancelled() => return,
        opened = Connection::open(stream) => opened,
    };
    let stream = match opened {
        Ok(Some(stream)) => stream,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(%error, "read a request");
            return;
        }
    };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let core = Arc::clone(&core);
        let request = Request::new(request);
        async move { Ok::<_, Infallible>(route::answer(&core, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(true)
        .timer(TokioTimer::new())
        .title_case_headers(true);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection");
    }
}
