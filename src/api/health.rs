//! Is it alive, is it ready: over HTTP, and as gRPC's standard health service.

use super::{json, service::Service};
use crate::ports::{Capabilities, Condition};
use axum::{Router, body::Body, routing::get};
use futures_core::Stream;
use http::{Response, StatusCode};
use serde_json::json;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const NAMES: [&str; 3] = ["", "virtufin.WebSocketManager", "virtufin.Rooms"];
/// How soon a watcher hears of a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Liveness depends on nothing; readiness says what it lacks.
pub fn router(service: &Service) -> Router {
    let (health, ready) = (service.clone(), service.clone());
    Router::new()
        .route("/livez", get(async || json::ok(&json!({"status": "alive"}))))
        .route("/health", get(async move || overview(&health)))
        .route("/readyz", get(async move || readiness(&ready)))
}

/// Always 200: whoever wants a verdict asks `/readyz`.
fn overview(service: &Service) -> Response<Body> {
    let status = if service.not_ready().is_none() { "healthy" } else { "not_ready" };
    json::ok(&json!({"status": status, "version": VERSION}))
}

/// The verdict, and how the backend is: what it can do, and what does not work now.
fn readiness(service: &Service) -> Response<Body> {
    let reason = service.not_ready();
    let mut body = json!({"status": if reason.is_none() { "ready" } else { "not_ready" }});
    if let Some(reason) = &reason {
        body["reason"] = reason.as_str().into();
    }
    if let Some(Condition { backend, capabilities, degraded, advisory, .. }) = service.condition() {
        let Capabilities { etag, ttl, ordered_bulk, broadcast, durable } = capabilities;
        body["backend"] = backend.into();
        body["capabilities"] = json!({
            "etag": etag, "ttl": ttl, "orderedBulk": ordered_bulk, "broadcast": broadcast, "durable": durable,
        });
        body["advisory"] = advisory.into();
        if let Some(degraded) = degraded {
            body["degraded"] = degraded.into();
        }
    }
    match reason {
        None => json::ok(&body),
        Some(_) => json::respond(StatusCode::SERVICE_UNAVAILABLE, &body),
    }
}

pub fn server(service: &Service) -> HealthServer<Readiness> {
    HealthServer::new(Readiness(service.clone()))
}

pub struct Readiness(Service);

fn serving(service: &Service) -> ServingStatus {
    match service.not_ready() {
        None => ServingStatus::Serving,
        Some(_) => ServingStatus::NotServing,
    }
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        if !NAMES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("service: unknown"));
        }
        Ok(tonic::Response::new(HealthCheckResponse { status: serving(&self.0).into() }))
    }

    type WatchStream = Changes;
    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Changes>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let mut timer = interval(WATCH_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(tonic::Response::new(Changes { service: known.then(|| self.0.clone()), last: None, timer }))
    }
}

/// The status at once, and whenever it is another one.
pub struct Changes {
    /// None: a name that we do not know, which the protocol wants told and watched all the same.
    service: Option<Service>,
    last: Option<ServingStatus>,
    timer: Interval,
}

impl Stream for Changes {
    type Item = Result<HealthCheckResponse, Status>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.timer.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
            let status = self.service.as_ref().map_or(ServingStatus::ServiceUnknown, serving);
            if self.last.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(HealthCheckResponse { status: status.into() })));
            }
        }
    }
}
