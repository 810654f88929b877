//! The HTTP port: REST, event streams, Connect, gRPC-Web and gRPC on the same paths, told apart by
//! content type; the documents; health.

use super::{
    connect,
    cors::{Cors, Verdict},
    counters::Counters,
    entries::Entries,
    grpc::{self, GrpcRoutes},
    health,
    json::Refusal,
    openapi, rest,
    service::Service,
    status,
    ws::Ingress,
};
use crate::core::reason::{Fault, FaultKind};
use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, ServiceExt};

#[cfg(test)]
mod tests;

#[derive(Clone, Default)]
pub struct HttpSettings {
    /// Origins whose pages may call; `*` for all.
    pub cors_origins: Vec<String>,
    pub counters: Arc<Counters>,
    /// Further routes of this port.
    pub extra: Router,
    /// How WebSockets come in; None: they do not.
    pub ingress: Option<Ingress>,
    /// Ways into rooms and topics, as the configuration has them.
    pub entries: Option<Entries>,
}

/// Everything that the HTTP port answers.
#[derive(Clone)]
pub struct HttpEdge(Arc<Inner>);

struct Inner {
    routes: Router,
    grpc: GrpcRoutes,
    web: GrpcWebService<GrpcRoutes>,
    cors: Cors,
    counters: Arc<Counters>,
    entries: Option<Entries>,
}

pub fn router(service: &Service, settings: HttpSettings) -> HttpEdge {
    let grpc = grpc::routes(service, settings.counters.clone());
    let routes = rest::router(service)
        .merge(connect::router(service))
        .merge(health::router(service))
        .merge(openapi::router())
        .merge(settings.extra)
        .method_not_allowed_fallback(wrong_method);
    let routes = match settings.ingress {
        Some(ingress) => routes.fallback(move |request| ingress.clone().answer(request)),
        None => routes.fallback(unknown_route),
    };
    HttpEdge(Arc::new(Inner {
        routes,
        web: GrpcWebLayer::new().layer(grpc.clone()),
        grpc,
        cors: Cors::new(&settings.cors_origins),
        counters: settings.counters,
        entries: settings.entries,
    }))
}

impl HttpEdge {
    pub async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Display + Send,
    {
        let inner = &*self.0;
        let origin = match inner.cors.judge(&request) {
            Verdict::Answer(response) => {
                inner.counters.foreign_origins.add();
                return *response;
            }
            Verdict::Plain => None,
            Verdict::Allowed(origin) => Some(origin),
        };
        let kind = Kind::of(request.headers());
        let answered = unpanicked(inner.dispatch(kind, request)).await;
        let mut response = answered.unwrap_or_else(|| {
            inner.counters.handler_panics.add();
            panicked(kind)
        });
        if let Some(origin) = origin {
            Cors::open(origin, &mut response);
        }
        response
    }
}

impl Inner {
    async fn dispatch<B>(&self, kind: Kind, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Display + Send,
    {
        match kind {
            Kind::GrpcWeb => {
                let answered: Result<_, Infallible> = self.web.clone().oneshot(request).await;
                answered.unwrap_or_else(|never| match never {}).map(Body::new)
            }
            Kind::Grpc if request.version() == Version::HTTP_2 => {
                self.grpc.clone().answer(request).await.map(Body::new)
            }
            Kind::Grpc => Refusal::new(
                StatusCode::BAD_REQUEST,
                FaultKind::Invalid,
                "content-type: gRPC needs HTTP/2; over HTTP/1 use gRPC-Web, Connect or REST",
            )
            .into_response(),
            Kind::Other => {
                let entries = self.entries.as_ref();
                if let Some(entry) = entries.and_then(|it| it.find(request.method(), request.uri().path())) {
                    return entry.answer(request.map(Body::new)).await;
                }
                let answered: Result<_, Infallible> =
                    self.routes.clone().oneshot(request.map(Body::new)).await;
                answered.unwrap_or_else(|never| match never {})
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Grpc,
    GrpcWeb,
    Other,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()) {
            Some(media) if media.starts_with(b"application/grpc-web") => Kind::GrpcWeb,
            Some(media) if media.starts_with(b"application/grpc") => Kind::Grpc,
            _ => Kind::Other,
        }
    }
}

/// None when `answer` panicked: one bad request must not take its connection's others along.
pub async fn unpanicked<T>(answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answered)) => Poll::Ready(Some(answered)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn panicked(kind: Kind) -> Response<Body> {
    let fault = Fault::new(FaultKind::Internal, "the handler failed");
    match kind {
        Kind::Other => Refusal::from(fault).into_response(),
        Kind::Grpc | Kind::GrpcWeb => status::to_tonic(&fault).into_http::<Body>(),
    }
}

pub async fn unknown_route() -> Response<Body> {
    Refusal::new(StatusCode::NOT_FOUND, FaultKind::NotFound, "no such route; /openapi.json lists them")
        .into_response()
}

pub async fn wrong_method() -> Response<Body> {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        FaultKind::Unimplemented,
        "this route does not take this method; the Allow header lists those it takes",
    )
    .into_response()
}
