//! The operator's own service that is asked about each client. It answers in a JSON object whom it
//! lets in, or with a status of its own that goes to the client as it is.

use super::Pass;
use crate::{
    api::serve::Peer,
    core::{
        endpoint::Endpoint,
        names::RoomName,
        reason::Fault,
        rooms::Access,
        token::{rooms_of, tags_of, user_of},
    },
    limits,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

#[cfg(test)]
mod tests;

#[derive(Clone)]
pub struct AuthoriserSettings {
    pub url: String,
    pub timeout: Duration,
    /// For https.
    pub tls: Arc<ClientConfig>,
}

/// One a thread.
pub struct Authoriser {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    kept: Arc<Mutex<Vec<Sender>>>,
    under_way: Semaphore,
    /// When trouble was logged last.
    told: Mutex<Option<Instant>>,
}

type Sender = SendRequest<Full<Bytes>>;
type Failure = Box<dyn Error + Send + Sync>;

pub enum Verdict {
    In(Box<Pass>),
    /// The authoriser's own words.
    Out {
        status: StatusCode,
        content_type: Option<HeaderValue>,
        body: Bytes,
    },
    Full,
    Failed,
}

struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Authoriser {
    pub fn new(settings: &AuthoriserSettings) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&settings.url).map_err(|why| format!("ws_authoriser {why}"))?;
        let tls = match endpoint.tls {
            false => None,
            true => {
                let name = ServerName::try_from(endpoint.host.clone())
                    .map_err(|_| "ws_authoriser has a host that TLS cannot name".to_owned())?;
                Some((TlsConnector::from(settings.tls.clone()), name))
            }
        };
        Ok(Authoriser {
            endpoint,
            tls,
            timeout: settings.timeout,
            kept: Arc::default(),
            under_way: Semaphore::new(limits::AUTHORISER_IN_FLIGHT),
            told: Mutex::default(),
        })
    }

    pub async fn ask(&self, parts: &Parts) -> Verdict {
        let Ok(_place) = self.under_way.try_acquire() else { return Verdict::Full };
        let question = Bytes::from(question(parts).to_string());
        let answer = match timeout(self.timeout, self.exchange(question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(_) => return self.failed("no answer in time; see ws_authoriser_timeout_ms"),
        };
        let Answer { status, content_type, body } = answer;
        if status == StatusCode::OK {
            return match pass(&body) {
                Ok(pass) => Verdict::In(Box::new(pass)),
                Err(fault) => self.failed(&format!("an answer that is none: {fault}")),
            };
        }
        if status.is_client_error() {
            return Verdict::Out { status, content_type, body };
        }
        self.failed(&format!("status {}", status.as_u16()))
    }

    /// Said once a minute: each client that comes meanwhile would say the same.
    fn failed(&self, why: &str) -> Verdict {
        let mut told = self.told.lock();
        if told.is_none_or(|at| at.elapsed() >= limits::AUTHORISER_LOG_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(authoriser = %self.endpoint.authority, %why, "clients are refused: the authoriser fails");
        }
        Verdict::Failed
    }

    /// A kept connection may have ended unnoticed: then once more, over a new one. To be asked twice
    /// changes nothing.
    async fn exchange(&self, question: Bytes) -> Result<Answer, Failure> {
        if let Some(sender) = self.kept_sender()
            && let Ok(answer) = self.exchange_by(sender, question.clone()).await
        {
            return Ok(answer);
        }
        self.exchange_by(self.dial().await?, question).await
    }

    fn kept_sender(&self) -> Option<Sender> {
        let mut kept = self.kept.lock();
        while let Some(sender) = kept.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    async fn exchange_by(&self, mut sender: Sender, question: Bytes) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint.path_and_query)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(question))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, limits::AUTHORISER_ANSWER_BYTES_MAX).collect().await?.to_bytes();
        self.keep(sender);
        let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
        Ok(Answer { status: head.status, content_type, body })
    }

    /// For the next question, when the connection can take one: its own task says so, a turn later.
    fn keep(&self, mut sender: Sender) {
        let kept = self.kept.clone();
        tokio::task::spawn_local(async move {
            let free = timeout(KEEP_PATIENCE, sender.ready()).await;
            let mut kept = kept.lock();
            if matches!(free, Ok(Ok(()))) && kept.len() < limits::AUTHORISER_KEPT {
                kept.push(sender);
            }
        });
    }

    async fn dial(&self) -> Result<Sender, Failure> {
        let tcp = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => open(tcp).await,
            Some((connector, name)) => open(connector.connect(name.clone(), tcp).await?).await,
        }
    }
}

/// An answer that was read whole leaves its connection free at once, or not at all.
const KEEP_PATIENCE: Duration = Duration::from_secs(1);

async fn open<S>(stream: S) -> Result<Sender, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end is seen by its sender.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// The request as it came, but for what concerns its connection alone. Bounded as heads are.
fn question(parts: &Parts) -> Value {
    let remote = parts.extensions.get::<Peer>().map(|peer| peer.address.to_string());
    json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query().unwrap_or_default(),
        "headers": headers(&parts.headers),
        "remote": remote.unwrap_or_default(),
    })
}

/// Of this hop alone.
const HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> =
        named.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let passed = |name: &HeaderName| {
        let text = name.as_str();
        !HOP.contains(name)
            && !matches!(text, "keep-alive" | "proxy-connection")
            && !text.starts_with("sec-websocket-")
            && !named.iter().any(|other| other == text)
    };
    let mut all = Map::new();
    for name in headers.keys().filter(|name| passed(name)) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        all.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().join(", ").into());
    }
    all
}

fn pass(body: &[u8]) -> Result<Pass, Fault> {
    let bad = |message: &'static str| Fault::invalid("body", message);
    let value: Value = serde_json::from_slice(body).map_err(|_| bad("is not JSON"))?;
    let said = value.as_object().ok_or_else(|| bad("is no JSON object"))?;
    let given = said.get("rooms").is_some_and(|rooms| !rooms.is_null());
    let rooms = rooms_of("rooms", said.get("rooms"))?;
    if rooms.iter().any(|name| name.ends_with('*')) {
        return Err(Fault::invalid(
            "rooms",
            "are joined and named in full; beginnings and * belong into may_join",
        ));
    }
    let joins = rooms.iter().map(|name| RoomName::parse("rooms", name)).collect::<Result<Vec<_>, _>>()?;
    let mut may_join = rooms.clone();
    may_join.extend(rooms_of("may_join", said.get("may_join"))?);
    let valid_for = match said.get("valid_for_ms") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let millis = value.as_u64().filter(|millis| *millis > 0);
            let millis =
                millis.ok_or_else(|| Fault::invalid("valid_for_ms", "must be a positive whole number"))?;
            Some(Duration::from_millis(millis))
        }
    };
    Ok(Pass {
        user: user_of(said.get("user"))?.map(Into::into),
        tags: tags_of(said.get("tags"))?,
        valid_for,
        // It has seen the URL: when it names no rooms, those of the URL are fine.
        reach: if given { Access::Only(rooms.into()) } else { Access::Any },
        joins,
        joins_beside: true,
        may_join: Access::Only(may_join.into()),
    })
}
