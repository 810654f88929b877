//! A sidecar in this process with the manners of the real one, and its moods on demand.

use dapr::dapr::proto::{common::v1::StateItem, runtime::v1::*};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Request, Response, Status, body::Body, server::NamedService, transport::server::TcpIncoming};

/// How one bulk request is answered.
#[derive(Clone, Debug)]
pub enum Mood {
    /// `Internal` without a list, after every `1/n`th event was published.
    Partly(usize),
    Fails(Status),
    Stalls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMood {
    #[default]
    Fine,
    /// Saves answer `Aborted`, reads are OK with an error for each key.
    Dead,
    /// Saves take place and answer `Internal`.
    LiesAfterWriting,
    /// Saves do nothing and answer `Aborted`, reads are fine.
    Flaky,
}

#[derive(Default)]
pub struct World {
    pub arrived: Vec<(String, Vec<u8>)>,
    pub bulk_moods: VecDeque<Mood>,
    /// Events that hold these bytes fail their whole request.
    pub poison: Option<(&'static [u8], Option<Status>)>,
    pub knows_only_alpha: bool,
    pub stable_calls: u64,
    pub token: Option<String>,
    pub components: Vec<RegisteredComponents>,
    pub documents: BTreeMap<String, (Vec<u8>, String)>,
    pub redis: bool,
    pub versions: u64,
    pub store_mood: StoreMood,
    pub last_ttl: Option<String>,
}

type Shared = Arc<Mutex<World>>;

pub fn component(name: &str, kind: &str, capabilities: &[&str]) -> RegisteredComponents {
    RegisteredComponents {
        name: name.into(),
        r#type: kind.into(),
        version: "v1".into(),
        capabilities: capabilities.iter().map(|one| (*one).to_owned()).collect(),
    }
}

impl World {
    pub fn new() -> World {
        World {
            components: vec![
                component("pubsub", "pubsub.redis", &[]),
                component("statestore", "state.redis", &["ETAG", "TTL"]),
            ],
            ..World::default()
        }
    }

    fn publish(&mut self, request: &BulkPublishRequest) -> Result<(), Option<Status>> {
        let ids: std::collections::BTreeSet<&str> =
            request.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
        if ids.len() != request.entries.len() || ids.contains("") {
            return Err(Some(Status::invalid_argument("entryId is duplicated or empty")));
        }
        assert_eq!(request.metadata.get("rawPayload").map(String::as_str), Some("true"));
        let mood = self.bulk_moods.pop_front();
        let poisoned = |(bytes, status): &(&'static [u8], Option<Status>)| {
            let holds = |e: &BulkPublishRequestEntry| e.event.windows(bytes.len()).any(|part| part == *bytes);
            let internal = || Status::internal("error when publishing to topic in pubsub: unknown");
            request.entries.iter().any(holds).then(|| status.clone().unwrap_or_else(internal))
        };
        if let Some(status) = self.poison.as_ref().and_then(poisoned) {
            return Err(Some(status));
        }
        let every = match &mood {
            None => 1,
            Some(Mood::Partly(every)) => *every,
            Some(Mood::Fails(status)) => return Err(Some(status.clone())),
            Some(Mood::Stalls) => return Err(None),
        };
        // No order inside a bulk: the last one first.
        for entry in request.entries.iter().rev().step_by(every) {
            self.arrived.push((request.topic.clone(), entry.event.clone()));
        }
        match mood {
            Some(_) => Err(Some(Status::internal("error when publishing to topic in pubsub: EOF"))),
            None => Ok(()),
        }
    }

    fn save(&mut self, item: &StateItem) -> Result<(), Status> {
        let found = self.documents.get(&item.key).map(|(_, etag)| etag.clone());
        let mismatch = || Status::aborted("possible etag mismatch");
        match (&item.etag, &found) {
            (Some(etag), _) if self.redis && etag.value.parse::<u64>().is_err() => {
                return Err(Status::invalid_argument("invalid etag value"));
            }
            (Some(etag), Some(found)) if etag.value != *found => return Err(mismatch()),
            (Some(_), None) if !self.redis => return Err(mismatch()),
            (None, Some(_)) if self.redis => return Err(Status::internal("failed to set key")),
            (None, Some(_)) => return Err(mismatch()),
            _ => {}
        }
        self.versions += 1;
        let version = match (&found, self.redis) {
            (Some(found), true) => (found.parse::<u64>().unwrap_or(0) + 1).to_string(),
            (None, true) => "1".to_owned(),
            (_, false) => format!("uuid-{}", self.versions),
        };
        self.last_ttl = item.metadata.get("ttlInSeconds").cloned();
        self.documents.insert(item.key.clone(), (item.value.clone(), version));
        Ok(())
    }
}

fn check_token<T>(world: &Shared, request: &Request<T>) -> Result<(), Status> {
    let given = request.metadata().get("dapr-api-token").and_then(|value| value.to_str().ok());
    match &world.lock().token {
        Some(token) if given != Some(token) => Err(Status::unauthenticated("invalid api token")),
        _ => Ok(()),
    }
}

async fn bulk(
    world: Shared,
    request: Request<BulkPublishRequest>,
    alpha: bool,
) -> Result<Response<BulkPublishResponse>, Status> {
    check_token(&world, &request)?;
    let answer = {
        let mut world = world.lock();
        world.stable_calls += u64::from(!alpha);
        if world.knows_only_alpha && !alpha {
            return Err(Status::unknown("failed to proxy request: required metadata dapr-app-id not found"));
        }
        world.publish(request.get_ref())
    };
    match answer {
        Ok(()) => Ok(Response::new(BulkPublishResponse::default())),
        Err(Some(status)) => Err(status),
        Err(None) => std::future::pending().await,
    }
}

async fn save(world: Shared, request: Request<SaveStateRequest>) -> Result<Response<()>, Status> {
    check_token(&world, &request)?;
    let mut world = world.lock();
    let dead = Status::aborted("possible etag mismatch. error from state store: connection refused");
    match world.store_mood {
        StoreMood::Dead | StoreMood::Flaky => return Err(dead),
        StoreMood::Fine | StoreMood::LiesAfterWriting => {}
    }
    for item in &request.get_ref().states {
        assert_eq!(item.options.map(|options| options.concurrency), Some(1), "always first write");
        world.save(item)?;
    }
    match world.store_mood {
        StoreMood::LiesAfterWriting => Err(Status::internal("ERR_STATE_SAVE: i/o timeout")),
        _ => Ok(Response::new(())),
    }
}

async fn delete(world: Shared, request: Request<DeleteStateRequest>) -> Result<Response<()>, Status> {
    let request = request.into_inner();
    let mut world = world.lock();
    let etag = request.etag.map(|etag| etag.value);
    match world.documents.get(&request.key) {
        Some((_, found)) if Some(found) == etag.as_ref() && world.store_mood == StoreMood::Fine => {
            world.documents.remove(&request.key);
            Ok(Response::new(()))
        }
        _ => Err(Status::aborted("possible etag mismatch")),
    }
}

async fn get(
    world: Shared,
    request: Request<GetBulkStateRequest>,
) -> Result<Response<GetBulkStateResponse>, Status> {
    check_token(&world, &request)?;
    let world = world.lock();
    let item = |key: &String| {
        let (data, etag) = world.documents.get(key).cloned().unwrap_or_default();
        let error = if world.store_mood == StoreMood::Dead { "connection refused" } else { "" };
        BulkStateItem { key: key.clone(), data, etag, error: error.into(), ..Default::default() }
    };
    let items = request.get_ref().keys.iter().rev().map(item).collect();
    Ok(Response::new(GetBulkStateResponse { items }))
}

async fn metadata(
    world: Shared,
    request: Request<GetMetadataRequest>,
) -> Result<Response<GetMetadataResponse>, Status> {
    check_token(&world, &request)?;
    let registered_components = world.lock().components.clone();
    let runtime_version = "1.18.2".to_owned();
    Ok(Response::new(GetMetadataResponse { registered_components, runtime_version, ..Default::default() }))
}

#[derive(Clone)]
struct Service(Shared);

impl NamedService for Service {
    const NAME: &'static str = "dapr.proto.runtime.v1.Dapr";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let world = self.0.clone();
        Box::pin(async move {
            macro_rules! unary {
                ($handler:expr) => {{
                    let handler = tower::service_fn(move |request| $handler(world.clone(), request));
                    let codec = tonic_prost::ProstCodec::default();
                    Ok(tonic::server::Grpc::new(codec).unary(handler, request).await)
                }};
            }
            match request.uri().path().rsplit('/').next().unwrap_or_default() {
                "BulkPublishEvent" => unary!(|world, request| bulk(world, request, false)),
                "BulkPublishEventAlpha1" => unary!(|world, request| bulk(world, request, true)),
                "SaveState" => unary!(save),
                "DeleteState" => unary!(delete),
                "GetBulkState" => unary!(get),
                "GetMetadata" => unary!(metadata),
                _ => Ok(Status::unimplemented("not in this fake").into_http()),
            }
        })
    }
}

/// The fake behind a port, which it keeps over restarts.
pub struct Fake {
    pub world: Shared,
    pub port: u16,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Fake {
    pub fn start(world: World) -> Fake {
        // Below the ephemeral range, so that nobody takes the port while the fake is away.
        let first = 20_000 + (std::process::id() % 5000) as u16;
        let mut fake = Fake { world: Arc::new(Mutex::new(world)), port: 0, runtime: None };
        for port in first..32_000 {
            fake.port = port;
            if fake.listen() {
                return fake;
            }
        }
        panic!("no free port");
    }

    fn listen(&mut self) -> bool {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let Ok(listener) = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", self.port))) else {
            runtime.shutdown_background();
            return false;
        };
        let service = Service(self.world.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        self.runtime = Some(runtime);
        true
    }

    /// Every connection is cut, as by a kill, when this returns.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(super::PATIENCE);
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        super::wait_for("the port", || self.listen());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}
