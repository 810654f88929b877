//! The Connect protocol, unary: JSON or binary by `POST /virtufin.WebSocketManager/{method}`, and the
//! same for `virtufin.Rooms`.

use super::{
    caller,
    counters::calls::Method,
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

pub fn router(service: &Service) -> Router {
    let route = |router: Router, path: &str, of: Of| {
        let service = service.clone();
        let answer = async move |Path(method): Path<String>, request: Request<Body>| {
            let media = json::media_type(request.headers()).unwrap_or_default();
            if STREAM_TYPES.contains(&media.as_str()) {
                return refuse_stream(&media);
            }
            handle(&service, of, &method, &media, request).await.unwrap_or_else(refuse)
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
) -> Result<Response<Body>, Refusal> {
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
    let (parts, body) = request.into_parts();
    check_head(&parts.headers)?;
    let caller = caller::of_connect(&parts.headers, &parts.extensions);
    let body = json::read(body).await?;
    match of {
        Of::Manager => call(service, &caller, method, codec, body).await,
        Of::Rooms => call_rooms(service, &caller, method, codec, body).await,
    }
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

/// The calls of one service; what stands before the table is told apart first.
macro_rules! calls {
    ($call:ident($service:ident, $caller:ident, $codec:ident, $body:ident):
        $({ $($first:pat => $answer:expr,)+ })? $($name:literal $method:ident $rpc:ident;)+) => {
        async fn $call(
            $service: &Service,
            $caller: &Caller,
            method: &str,
            $codec: Codec,
            $body: Bytes,
        ) -> Result<Response<Body>, Refusal> {
            match (method, $codec) {
                $($($first => $answer,)+)?
                $(($name, _) => {
                    let message = $codec.decode($body);
                    let (caller, call) = begin($service, $caller, Method::$method, &message);
                    let answer = match message {
                        Ok(message) => $service.$rpc(&caller, message).await,
                        Err(fault) => Err(fault),
                    };
                    Ok($codec.encode(&call.ended(answer)?))
                })+
                _ => Err(Refusal::new(StatusCode::NOT_FOUND, FaultKind::Unimplemented, "no such method")),
            }
        }
    };
}

calls! {
    call(service, caller, codec, body):
    {
        ("Update", Codec::Json) => {
            let message = rest::decode_update(&body, false);
            let (caller, call) = begin(service, caller, Method::Update, &message);
            let answer = match message {
                Ok(message) => service.update(&caller, message).await,
                Err(fault) => Err(fault),
            };
            Ok(codec.encode(&call.ended(answer)?))
        },
        ("SendStream" | "Receive" | "Watch", _) => Err(streaming().into()),
    }
    "Connect" Connect connect;
    "List" List list;
    "Get" Get get;
    "Update" Update update;
    "Disconnect" Disconnect disconnect;
    "StartPublish" StartPublish start_publish;
    "StopPublish" StopPublish stop_publish;
    "Send" Send send;
    "SendBatch" SendBatch send_batch;
    "SendRaw" SendRaw send_raw;
    "SetTag" SetTag set_tag;
    "GetTag" GetTag get_tag;
    "SetTags" SetTags set_tags;
    "GetTags" GetTags get_tags;
}

calls! {
    call_rooms(service, caller, codec, body):
    "Send" RoomSend room_send;
    "Broadcast" Broadcast broadcast;
    "SendToUser" SendToUser send_to_user;
    "KickUser" KickUser kick_user;
    "Join" Join join;
    "Leave" Leave leave;
    "ListRooms" ListRooms list_rooms;
    "ListMembers" ListMembers list_members;
    "History" History history;
}

/// What does not decode was a call of this method all the same.
fn begin(
    service: &Service,
    caller: &Caller,
    method: Method,
    message: &Result<impl Subject, Fault>,
) -> (Caller, Observed) {
    let mut caller = caller.clone();
    let connection = message.as_ref().map_or("", Subject::connection);
    let call = service.observe(Protocol::Connect, method, &mut caller, connection);
    (caller, call)
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
