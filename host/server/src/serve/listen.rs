//! Connections: so many at a time, none that takes for ever to ask, and none cut off in the middle of
//! an answer when the service stops.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Limits;

/// The least that a connection reads ahead, in bytes.
const HEADER_BYTES_MIN: usize = 8 << 10;

/// How long an answer may wait to be taken.
const UNTAKEN_MS: u32 = 30_000;

/// How long to wait where no connection can be taken, for want of files perhaps.
const AGAIN: Duration = Duration::from_millis(50);

/// A connection's place among those that may be open. Whoever takes a connection over takes it along.
#[derive(Clone)]
pub struct Place(
    #[allow(dead_code, reason = "it is given back when dropped")] Arc<OwnedSemaphorePermit>,
);

/// Has each request know its connection's place.
struct Placed {
    router: TowerToHyperService<Router>,
    place: Place,
}

impl Service<Request<Incoming>> for Placed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.place.clone());
        self.router.call(request)
    }
}

/// Serves until the service stops, and until what is under way then has ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.arrival_seconds))
        .max_buf_size(limits.header_bytes.max(HEADER_BYTES_MIN));
    // The semaphore counts connections, so that they are over once all of it can be had.
    let connections = u32::try_from(limits.connections_max).unwrap_or(u32::MAX).max(1);
    let places = Semaphore::new(connections as usize);
    let places = Arc::new(places);
    loop {
        let taken = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            _ = stopping.wait_for(|stops| *stops) => break,
            (accepted, place) = taken => match (accepted, place) {
                (Ok((stream, _)), Ok(place)) => (stream, Place(Arc::new(place))),
                // The semaphore is never closed.
                (Ok(_), Err(_)) => break,
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection was not taken");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        // An answer is one small write, which waits for nothing.
        let _ = stream.set_nodelay(true);
        // Whoever takes nothing of what is sent holds its place for so long.
        let _ = set_tcp_user_timeout(&stream, UNTAKEN_MS);
        let router = TowerToHyperService::new(router.clone());
        let service = Placed { router, place: place.clone() };
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let _place = place;
            let mut connection = pin!(connection);
            // That it ends badly is a caller's doing, who hung up, or never asked.
            tokio::select! {
                _ = &mut connection => return,
                _ = stopping.wait_for(|stops| *stops) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = places.acquire_many(connections).await;
}
