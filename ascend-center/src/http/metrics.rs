//! `GET /metrics`, and the log of requests.

use std::{io, net::SocketAddr, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Face, PersonCaller, Problem, auth::Principal, connections};
use crate::Center;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What no route is of.
const UNMATCHED: &str = "unmatched";

/// Tells what this process counts, as OpenMetrics text.
#[utoipa::path(
    get, path = "/metrics", tag = "center",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
) -> Result<Response, Problem> {
    written(&face.center).await
}

async fn written(center: &Center) -> Result<Response, Problem> {
    let levels = center.store().levels().await?;
    let policies = center.policy_status().policies;
    let text = center.metrics().written(&levels, policies).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// Serves the metrics alone, to everybody who reaches the address.
pub(super) async fn serve(
    center: Center,
    address: SocketAddr,
    most: usize,
    closing: &CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot serve metrics at {address}: {error}"))
    })?;
    let metrics = async |State(center): State<Center>| written(&center).await;
    let router = Router::new().route("/metrics", get(metrics)).with_state(center);
    connections::serve(listener, router, most, closing).await;
    // Counts are told for as long as there is somebody who asks.
    std::future::pending().await
}

/// Counts a request, and logs it: its route, never its path, which can name a
/// resource; and nothing of what was sent.
pub(super) async fn observe(State(face): State<Face>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status(), begun.elapsed());
    face.center.metrics().answered(method, &route, status.as_u16(), took);
    let principal = response.extensions().get::<Principal>();
    let by = principal.map_or("nobody", |principal| principal.0.as_str());
    let (status, duration_ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
    if status < 400 {
        tracing::debug!(method, route, status, duration_ms, by, "answered");
    } else {
        tracing::info!(method, route, status, duration_ms, by, "answered");
    }
    response
}

/// Clients choose methods too.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
