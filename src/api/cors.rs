//! Which web pages of other origins may talk to us: by default none.

use super::json::Refusal;
use crate::core::reason::FaultKind;
use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, uri::Authority,
};

#[cfg(test)]
mod tests;

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding, retry-after, content-type",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// When a preflight names no headers.
const HEADERS: HeaderValue = HeaderValue::from_static("content-type");

#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// `scheme://host[:port]`, or `*` for every origin.
    allowed: Vec<String>,
}

/// What the layer found about a request.
pub enum Verdict {
    /// Answer this and nothing else.
    Answer(Box<Response<Body>>),
    /// No page, or a page of ours.
    Plain,
    /// A page of an allowed origin.
    Allowed(HeaderValue),
}

impl Cors {
    pub fn new(origins: &[String]) -> Self {
        let allowed =
            origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Cors { allowed }
    }

    pub fn judge<B>(&self, request: &Request<B>) -> Verdict {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Verdict::Plain };
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
        let preflight = asked && request.method() == Method::OPTIONS;
        if self.allows(origin) {
            if preflight {
                return Verdict::Answer(Box::new(answer(origin, request.headers())));
            }
            return Verdict::Allowed(origin.clone());
        }
        // A page can send simple requests without asking; reading is what it cannot do then.
        let harmless = matches!(*request.method(), Method::GET | Method::HEAD);
        if same_origin(origin, request) || (harmless && !preflight) {
            return Verdict::Plain;
        }
        let refusal = Refusal::new(StatusCode::FORBIDDEN, FaultKind::Forbidden, "origin: not allowed here");
        Verdict::Answer(Box::new(refusal.into_response()))
    }

    /// Lets the page read the answer.
    pub fn open<B>(origin: HeaderValue, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

fn answer(origin: &HeaderValue, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Cors::open(origin.clone(), &mut response);
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(HEADERS);
    let named: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, wanted),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    response.headers_mut().extend(named);
    response
}

/// The page came from this very port.
fn same_origin<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((page, host), (Some((_, page)), Some(host)) if page.eq_ignore_ascii_case(host))
}
