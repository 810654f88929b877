//! The Connect protocol, unary: JSON or binary by `POST /virtufin.WebSocketManager/{method}`, and the
//! same for `virtufin.Rooms`.

use super::{
    caller,
    counters::calls::{Method, ROOMS},
    json::{self, Refusal},
    observe::{Observed, Protocol, Subject},
    rest,
    service::{Caller, Service},
    status,
};
use crate::core::reason::{Fault, FaultKind};
use axum::{Router, body::Body, extract::Path, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

const BINARY: &str = "application/proto";
const STREAM_TYPES: [&str; 2] = ["application/connect+json", "application/connect+proto"];
/// Envelope flag of the last frame of a Connect stream.
const END_OF_STREAM: u8 = 2;

/// The services, as paths name them.
#[derive(Clone, Copy)]
enum Of {
    Manager,
    Rooms,
}

impl Of {
    fn method(self, name: &str) -> Option<Method> {
        match self {
            // The names of the other service's methods have a dot.
            Of::Manager => Method::named(name).filter(|_| !name.contains('.')),
            Of::Rooms => Method::named(&format!("{ROOMS}{name}")),
        }
    }
}

pub fn router(service: &Service) -> Router {
    let route = |router: Router, path: &str, of: Of| {
        let service = service.clone();
        let answer = async move |Path(method): Path<String>, request: Request<Body>| {
            let media = json::media_type(request.headers()).unwrap_or_default();
            if STREAM_TYPES.contains(&media.as_str()) {
                return refuse_stream(&media);
            }
            handle(&service, of, &method, &media, request).await
        };
        router.route(path, post(answer))
    };
    let router = route(Router::new(), "/virtufin.WebSocketManager/{method}", Of::Manager);
    route(router, "/virtufin.Rooms/{method}", Of::Rooms)
}

async fn handle(
    service: &Service,
    of: Of,
    method: &str,
    media: &str,
    request: Request<Body>,
) -> Response<Body> {
    let Some(method) = of.method(method) else {
        return refuse(Refusal::new(StatusCode::NOT_FOUND, FaultKind::Unimplemented, "no such method"));
    };
    let (parts, body) = request.into_parts();
    let mut caller = caller::of_connect(&parts.headers, &parts.extensions);
    // From here on it counts, even if it is refused before it is read.
    let mut call = service.observe(Protocol::Connect, method, &mut caller, "");
    let answer = match read(media, &parts.headers, body).await {
        Err(refusal) => Err(refusal),
        Ok((codec, body)) => serve(service, &caller, &mut call, method, codec, body).await,
    };
    call.answered(answer).unwrap_or_else(refuse)
}

async fn read(media: &str, headers: &HeaderMap, body: Body) -> Result<(Codec, Bytes), Refusal> {
    let codec = match media {
        json::JSON => Codec::Json,
        BINARY => Codec::Binary,
        _ => {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                FaultKind::Invalid,
                "content-type: must be application/json or application/proto",
            ));
        }
    };
    check_head(headers)?;
    Ok((codec, json::read(body).await?))
}

fn check_head(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("connect-protocol-version") {
        Some(version) if version != "1" => {
            return Err(Fault::invalid("connect-protocol-version", "must be 1").into());
        }
        _ => {}
    }
    match headers.get(header::CONTENT_ENCODING) {
        // Connect's own answer for an encoding that a server does not have.
        Some(encoding) if encoding != "identity" => Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            FaultKind::Unimplemented,
            "content-encoding: only identity is accepted",
        )),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Codec {
    Json,
    Binary,
}

impl Codec {
    fn decode<T>(self, body: Bytes) -> Result<T, Fault>
    where
        T: prost::Message + Default + serde::de::DeserializeOwned,
    {
        match self {
            Codec::Json => json::decode(&body),
            Codec::Binary => {
                T::decode(body).map_err(|error| Fault::invalid("body", format!("does not decode: {error}")))
            }
        }
    }

    fn encode<T: prost::Message + serde::Serialize>(self, message: &T) -> Response<Body> {
        match self {
            Codec::Json => json::ok(message),
            Codec::Binary => json::plain(StatusCode::OK, BINARY, message.encode_to_vec()),
        }
    }
}

/// Every method that is no stream, but for the one whose JSON is read in a way of its own.
macro_rules! calls {
    ($($method:ident $rpc:ident;)+) => {
        async fn serve(
            service: &Service,
            caller: &Caller,
            call: &mut Observed,
            method: Method,
            codec: Codec,
            body: Bytes,
        ) -> Result<Response<Body>, Refusal> {
            match method {
                Method::Update => {
                    let message = match codec {
                        Codec::Json => rest::decode_update(&body, false)?,
                        Codec::Binary => codec.decode(body)?,
                    };
                    about(call, &message);
                    Ok(codec.encode(&service.update(caller, message).await?))
                }
                Method::SendStream | Method::Receive | Method::Watch => Err(streaming().into()),
                $(Method::$method => {
                    let message = codec.decode(body)?;
                    about(call, &message);
                    Ok(codec.encode(&service.$rpc(caller, message).await?))
                })+
            }
        }
    };
}

calls! {
    Connect connect;
    List list;
    Get get;
    Disconnect disconnect;
    StartPublish start_publish;
    StopPublish stop_publish;
    Send send;
    SendBatch send_batch;
    SendRaw send_raw;
    SetTag set_tag;
    GetTag get_tag;
    SetTags set_tags;
    GetTags get_tags;
    RoomSend room_send;
    Broadcast broadcast;
    SendToUser send_to_user;
    KickUser kick_user;
    Join join;
    Leave leave;
    ListRooms list_rooms;
    ListMembers list_members;
    History history;
}

fn about(call: &mut Observed, message: &impl Subject) {
    call.about(message.connection());
}

fn streaming() -> Fault {
    Fault::new(FaultKind::Unimplemented, "streams are served over gRPC, gRPC-Web and server-sent events")
}

fn refuse(refusal: Refusal) -> Response<Body> {
    let mut response = json::respond(refusal.http, &error(&refusal.fault));
    if refusal.http == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let types = HeaderValue::from_static("application/json, application/proto");
        response.headers_mut().insert("accept-post", types);
    }
    if refusal.fault.message.starts_with("content-encoding") {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    response
}

/// A stream's errors come inside of it, with 200 before them.
fn refuse_stream(media: &str) -> Response<Body> {
    let end = json!({"error": error(&streaming())}).to_string();
    let mut frame = vec![END_OF_STREAM];
    frame.extend_from_slice(&(end.len() as u32).to_be_bytes());
    frame.extend_from_slice(end.as_bytes());
    let media = STREAM_TYPES.iter().find(|known| **known == media).unwrap_or(&STREAM_TYPES[0]);
    json::plain(StatusCode::OK, media, frame)
}

fn error(fault: &Fault) -> Value {
    let details: Vec<_> = status::typed_details(fault)
        .into_iter()
        .map(|(name, value)| json!({"type": name, "value": BASE64_STANDARD_NO_PAD.encode(value)}))
        .collect();
    json!({"code": status::row(fault.kind).connect, "message": status::message(fault), "details": details})
}
