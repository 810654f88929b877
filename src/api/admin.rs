//! The admin port: metrics, the configuration, drain. Nothing of it is on the public ports.

use super::json;
use crate::core::reason::FaultKind;
use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    routing::{get, post},
};
use http::{Response, StatusCode, header};
use serde_json::json;
use std::{pin::Pin, sync::Arc};

#[cfg(test)]
mod tests;

/// What the admin port shows and does, from whoever owns it.
pub trait AdminHooks: Send + Sync + 'static {
    /// The Prometheus text format.
    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
    /// The effective configuration, redacted.
    fn config(&self) -> String;
    /// Begins to drain; called again it changes nothing.
    fn drain(&self);
}

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn router(hooks: Arc<dyn AdminHooks>) -> Router {
    let (metrics, config, drain) = (hooks.clone(), hooks.clone(), hooks);
    Router::new()
        .route(
            "/metrics",
            get(async move || json::plain(StatusCode::OK, METRICS_TYPE, metrics.metrics().await)),
        )
        .route(
            "/config",
            get(async move || json::plain(StatusCode::OK, "text/plain; charset=utf-8", config.config())),
        )
        .route(
            "/drain",
            post(async move || {
                drain.drain();
                json::respond(StatusCode::ACCEPTED, &json!({"status": "draining"}))
            }),
        )
        .route("/livez", get(async || json::ok(&json!({"status": "alive"}))))
        .fallback(super::http::unknown_route)
        .method_not_allowed_fallback(super::http::wrong_method)
        .layer(from_fn(refuse_browsers))
}

/// Loopback is no wall against a page in a browser on this machine.
async fn refuse_browsers(request: Request, next: Next) -> Response<Body> {
    if request.headers().contains_key(header::ORIGIN) {
        return json::Refusal::new(
            StatusCode::FORBIDDEN,
            FaultKind::Forbidden,
            "origin: the admin port answers no web pages",
        )
        .into_response();
    }
    next.run(request).await
}
