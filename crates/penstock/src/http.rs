//! The HTTP surface of a running pipeline: `/metrics`, `/health/live`, `/health/ready`, `/api/v1/status`.
//!
//! It only shows; it changes nothing. Loopback by default.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the surface shows.
pub trait Shown: Send + Sync + 'static {
    /// The pipeline's state, as `penstock status --json` gives it.
    fn status(&self) -> Value;

    /// Ready means that positions move while there is work.
    ///
    /// # Errors
    /// A sentence: what stands still.
    fn ready(&self) -> Result<(), String>;
}

#[derive(Clone)]
struct Surface {
    metrics: PrometheusHandle,
    shown: Arc<dyn Shown>,
}

/// Installs the process's metrics recorder: buckets in seconds for durations, from 1 ms to 5 min.
///
/// # Errors
/// When a recorder is installed already.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0])?
        .install_recorder()
}

/// Serves until `stop`; returns the address it listens on.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    listen: &str,
    metrics: PrometheusHandle,
    shown: Arc<dyn Shown>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(render_metrics))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/api/v1/status", get(status))
        .with_state(Surface { metrics, shown });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP surface stopped");
        }
    });
    Ok(address)
}

async fn render_metrics(State(surface): State<Surface>) -> Response {
    surface.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], surface.metrics.render()).into_response()
}

async fn ready(State(surface): State<Surface>) -> Response {
    match surface.shown.ready() {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "why": why}))).into_response(),
    }
}

async fn status(State(surface): State<Surface>) -> Json<Value> {
    Json(surface.shown.status())
}
