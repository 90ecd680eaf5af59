//! The listener: connections with time-outs and a bound, until the node drains.

use crate::edge::{routes::router, state::App};
use axum::{body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::ServiceExt;

/// Connections that are not (yet) a WebSocket; the next ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// From the first byte of a connection to the end of a request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// What a drained connection has for the answer that is under way.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that the other side does not acknowledge, or has no room for, may wait this long.
const PROGRESS_LIMIT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the node drains.
pub async fn serve(listener: TcpListener, app: App) {
    let tasks = app.tasks.clone();
    let router = router(app);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tasks.drained() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let connection = connection(stream, address, router.clone(), tasks.clone(), permit);
                tasks.spawn(connection);
            }
            Err(error) => {
                // Most often too many open files: others may close theirs meanwhile.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: axum::Router,
    tasks: crate::live::tasks::Tasks,
    permit: OwnedSemaphorePermit,
) {
    // A peer that takes nothing for so long is cut off by the system, whatever protocol it speaks.
    let socket = socket2::SockRef::from(&stream);
    if stream.set_nodelay(true).is_err() || socket.set_tcp_user_timeout(Some(PROGRESS_LIMIT)).is_err() {
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // A client that breaks off is no event of ours.
        _ended = serving.as_mut() => {}
        () = tasks.drained() => {
            serving.as_mut().graceful_shutdown();
            let _ended = timeout(LAST_ANSWER_LIMIT, serving).await;
        }
    }
    drop(permit);
}
