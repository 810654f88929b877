use crate::{
    api::{
        counters::{Counters, PeerCounters},
        grpc,
        listen::{self, ListenSettings, Stop, StopTrigger},
        peers::{
            Fleet, PeerKey,
            rooms::{PeerRooms, RoomsConfig},
        },
        service::{Inner, Life, Readiness, Service},
        validate::Defaults,
    },
    backend::embedded::{Embedded, EmbeddedConfig},
    core::{
        egress::{Pattern, Policy},
        id::ConnectionId,
        io::{Command, Context},
        publish::Bounds,
        rooms::{History, Rule, Rules},
        shard::Setup,
        time::{Now, Time, Wall},
    },
    ports::{Adoption, BackendError, Directory, Done, Holder, Member, Pending, RoomListener, Store},
    proto::{rooms_client::RoomsClient, web_socket_manager_client::WebSocketManagerClient, *},
    shard::{
        self, Local, World,
        dial::{Dialler, SystemResolver},
        mailbox::{Hub, Mailbox},
    },
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::{Channel, Endpoint};

pub const KEY: PeerKey = Some([42; 32]);
pub type Client = WebSocketManagerClient<Channel>;

/// What all instances see, as a shared store would give it to them.
#[derive(Default)]
pub struct Shared {
    pub members: BTreeMap<String, Member>,
    /// By the incarnation of the owner; of one that is no member: an orphan.
    pub owners: BTreeMap<ConnectionId, String>,
    pub located: usize,
    pub unclaimed: Vec<ConnectionId>,
    pub leaving: BTreeSet<ConnectionId>,
    /// How far the clock of rooms is ahead, in milliseconds.
    pub ahead: Arc<AtomicU64>,
}

#[derive(Clone)]
pub struct Script {
    pub me: Arc<str>,
    pub shared: Arc<Mutex<Shared>>,
}

impl Script {
    fn holder(&self, shared: &Shared, id: &ConnectionId) -> Holder {
        match shared.owners.get(id) {
            None => Holder::Nobody,
            Some(_) if shared.leaving.contains(id) => Holder::Orphan,
            Some(owner) if **owner == *self.me => Holder::Me,
            Some(owner) => shared.members.get(owner).cloned().map_or(Holder::Orphan, Holder::Member),
        }
    }
}

impl Directory for Script {
    fn me(&self) -> Arc<str> {
        self.me.clone()
    }

    fn members(&self) -> Arc<[Member]> {
        let shared = self.shared.lock();
        shared.members.values().filter(|member| member.incarnation != self.me).cloned().collect()
    }

    fn locate(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        let (script, id) = (self.clone(), id.clone());
        Box::pin(async move {
            // A store takes its time: others may ask meanwhile.
            tokio::task::yield_now().await;
            let mut shared = script.shared.lock();
            shared.located += 1;
            Ok(script.holder(&shared, &id))
        })
    }

    fn claim(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        let (script, id) = (self.clone(), id.clone());
        Box::pin(async move {
            let mut shared = script.shared.lock();
            shared.owners.entry(id.clone()).or_insert_with(|| script.me.to_string());
            Ok(script.holder(&shared, &id))
        })
    }

    fn unclaim(&self, id: &ConnectionId) {
        let mut shared = self.shared.lock();
        shared.owners.remove(id);
        shared.unclaimed.push(id.clone());
    }

    fn recorded(&self, incarnation: &str) -> Pending<Result<Vec<Bytes>, BackendError>> {
        let shared = self.shared.lock();
        let record = |id: &ConnectionId| {
            format!(r#"{{"id":"{id}","autoReconnect":true,"instanceId":"gone","tags":{{"k":"v"}}}}"#).into()
        };
        let owned = shared.owners.iter().filter(|(_, owner)| **owner == *incarnation);
        let records = owned.map(|(id, _)| record(id)).collect();
        Box::pin(async move { Ok(records) })
    }
}

/// Documents as the fleet keeps them: whoever writes one owns it.
struct Documents {
    inner: Arc<dyn Store>,
    script: Script,
}

impl Store for Documents {
    fn put(&self, id: &ConnectionId, document: Bytes, done: Done<Result<(), BackendError>>) {
        self.script.shared.lock().owners.insert(id.clone(), self.script.me.to_string());
        self.inner.put(id, document, done);
    }

    fn delete(&self, id: &ConnectionId, done: Done<Result<(), BackendError>>) {
        let mut shared = self.script.shared.lock();
        if shared.owners.get(id).is_some_and(|owner| **owner == *self.script.me) {
            shared.owners.remove(id);
        }
        drop(shared);
        self.inner.delete(id, done);
    }

    fn load(&self) -> Result<Vec<(ConnectionId, Bytes)>, BackendError> {
        self.inner.load()
    }
}

#[derive(Clone)]
pub struct Plan {
    pub name: &'static str,
    pub key: PeerKey,
    pub shards: u32,
    pub adoption: Option<Arc<dyn Adoption>>,
    /// Given: it carries rooms.
    pub rooms: Option<Arc<dyn RoomListener>>,
}

impl Plan {
    pub fn new(name: &'static str) -> Self {
        Plan { name, key: KEY, shards: 2, adoption: None, rooms: None }
    }
}

pub struct Instance {
    pub member: Member,
    pub address: SocketAddr,
    pub counters: Arc<PeerCounters>,
    pub rooms: Option<Arc<PeerRooms>>,
    pub readiness: Arc<Readiness>,
    hub: Hub,
    stop: StopTrigger,
    kill: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    _backend: Arc<Embedded>,
    _data: tempfile::TempDir,
}

impl Instance {
    pub fn start(plan: Plan, shared: &Arc<Mutex<Shared>>) -> Self {
        let Plan { name, key, shards, adoption, rooms } = plan;
        let data = tempfile::tempdir().unwrap();
        let backend = Arc::new(Embedded::open(EmbeddedConfig::new(data.path().to_owned(), shards)).unwrap());
        let listeners = listen::bind_shards("127.0.0.1:0".parse().unwrap(), shards as usize).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let incarnation: Arc<str> = format!("{name}#1").into();
        let member = Member {
            incarnation: incarnation.clone(),
            instance: name.into(),
            address: address.to_string().into(),
        };
        let script = Script { me: incarnation.clone(), shared: shared.clone() };
        let mailboxes: Vec<_> = (0..shards).map(|_| Mailbox::new(1024)).collect();
        let hub = Hub::new(mailboxes.clone(), name.bytes().map(u64::from).sum());
        let readiness = Arc::new(Readiness::default());
        readiness.set(Life::Ready);
        let counters = Arc::new(PeerCounters::default());
        let fleet = Fleet {
            directory: Arc::new(script.clone()),
            key,
            tls: None,
            adoption,
            rooms: None,
            counters: counters.clone(),
        };
        let rooms = rooms.map(|listener| start_rooms(name, fleet.clone(), shared, listener));
        let fleet = Fleet { rooms: rooms.as_ref().map(|rooms| rooms.edge()), ..fleet };
        let (stop, stopped) = Stop::new();
        let (kill, killed) = watch::channel(false);
        let mut threads = Vec::new();
        for (shard, listener) in listeners.into_iter().enumerate() {
            let shard = shard as u32;
            let world = World {
                store: Arc::new(Documents { inner: backend.store(), script: script.clone() }),
                bus: backend.bus(),
                spill: backend.local().spill(shard).unwrap(),
                seal: backend.local().sealer(),
                gate: None,
                dialler: Arc::new(dialler()),
                instance: name.into(),
                busy_poll: Duration::ZERO,
                rooms: Default::default(),
                spans: Default::default(),
            };
            let inner = Inner {
                hub: hub.clone(),
                defaults: Defaults::default(),
                instance: name.to_owned(),
                bus: None,
                readiness: readiness.clone(),
                fleet: Some(fleet.clone()),
                rooms: Default::default(),
                check: None,
                observer: Default::default(),
            };
            let setup = setup(name, shard, shards);
            let mailbox = mailboxes[shard as usize].clone();
            let (stopped, mut killed) = (stopped.clone(), killed.clone());
            threads.push(std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build_local(Default::default()).unwrap().block_on(async move {
                    let local = Local::start(shard, setup, mailbox, world);
                    let settings = ListenSettings {
                        certificates: None,
                        counters: Arc::<Counters>::default(),
                        stop: stopped,
                        drain: Duration::from_millis(100),
                    };
                    let routes = grpc::routes(&Service::new(inner), Arc::default());
                    let listening = listen::run(listener, routes, settings);
                    tokio::task::spawn_local(shard::run(local.clone()));
                    tokio::select! {
                        ended = listening => {
                            drop(ended);
                            local.stop();
                        }
                        // Like a process that is killed: no last word.
                        _ = killed.wait_for(|killed| *killed) => {}
                    }
                });
            }));
        }
        shared.lock().members.insert(incarnation.to_string(), member.clone());
        let (_backend, _data) = (backend, data);
        Instance { member, address, counters, rooms, readiness, hub, stop, kill, threads, _backend, _data }
    }

    /// As a drain does it: everything is let go of, while the listeners stay.
    pub async fn let_go(&self) {
        self.readiness.set(Life::Stopping);
        for shard in 0..self.hub.shards() {
            self.hub.call(shard, Context::default(), Command::Stop).await.unwrap();
        }
    }

    pub async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        WebSocketManagerClient::new(endpoint.connect().await.unwrap())
    }

    /// Everything of it ends at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.kill.send_replace(true);
        if let Some(rooms) = self.rooms.take() {
            rooms.stop();
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.stop();
        self.kill();
    }
}

/// Rooms whose names begin with "none" keep nothing.
fn start_rooms(
    name: &str,
    fleet: Fleet,
    shared: &Arc<Mutex<Shared>>,
    listener: Arc<dyn RoomListener>,
) -> Arc<PeerRooms> {
    let (ahead, began) = (shared.lock().ahead.clone(), Instant::now());
    let none = Rule { pattern: "none*".into(), history: Some(History::NONE), slow: None };
    let config = RoomsConfig {
        fleet,
        instance: name.into(),
        rules: Arc::new(Rules { rules: vec![none], ..Rules::default() }),
        history_bytes_max: 64 << 20,
        clock: Arc::new(move || {
            let millis = began.elapsed().as_millis() as u64 + ahead.load(Ordering::SeqCst);
            let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
            Now { mono: Time::from_millis(millis), wall: Wall::from_unix_millis(wall) }
        }),
        may_number: Arc::new(|| true),
        listener,
    };
    Arc::new(PeerRooms::start(config).unwrap())
}

fn dialler() -> Dialler {
    let allow = vec![Pattern::parse("127.0.0.0/8").unwrap()];
    Dialler {
        policy: Policy { allow, deny: Vec::new(), own: Vec::new() },
        resolver: Arc::new(SystemResolver),
        tls: crate::pki::client_config("", "", "").unwrap(),
        user_agent: "test".into(),
    }
}

fn setup(name: &str, shard: u32, shards: u32) -> Setup {
    Setup {
        shard,
        shards,
        instance: name.into(),
        connections_max: 1000,
        outbox_bytes_max: 1 << 20,
        ring_bytes: 1 << 20,
        dials_per_second: 1000,
        publish: Bounds::default(),
        lifecycle_topic: "lifecycle".into(),
        rooms: Default::default(),
        seed: name.bytes().map(u64::from).sum::<u64>() * 100 + u64::from(shard),
    }
}

/// Two or three of them, and an upstream that echoes.
pub struct Rig {
    pub shared: Arc<Mutex<Shared>>,
    pub instances: Vec<Instance>,
    pub upstream: SocketAddr,
    /// What the upstream got.
    pub heard: std_mpsc::Receiver<String>,
}

impl Rig {
    pub async fn start(names: &[&'static str]) -> Self {
        Self::of(names.iter().map(|name| Plan::new(name)).collect()).await
    }

    pub async fn of(plans: Vec<Plan>) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let instances = plans.into_iter().map(|plan| Instance::start(plan, &shared)).collect();
        let (upstream, heard) = echo().await;
        Rig { shared, instances, upstream, heard }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/feed", self.upstream)
    }

    pub async fn client(&self, instance: usize) -> Client {
        self.instances[instance].client().await
    }

    pub async fn rooms(&self, instance: usize) -> RoomsClient<Channel> {
        let address = format!("http://{}", self.instances[instance].address);
        RoomsClient::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap())
    }

    /// A connection with this id at this instance.
    pub async fn connect(&self, instance: usize, id: &str) {
        let request = ConnectRequest { url: self.url(), connection_id: id.into(), ..Default::default() };
        let answer = self.client(instance).await.connect(request).await.unwrap().into_inner();
        assert!(answer.created);
    }

    /// The same, dialled again by whoever takes it.
    pub async fn connect_for_good(&self, instance: usize, id: &str) {
        let (url, connection_id) = (self.url(), id.into());
        let request = ConnectRequest { url, connection_id, auto_reconnect: true, ..Default::default() };
        self.client(instance).await.connect(request).await.unwrap();
    }

    /// Waits until the upstream got this.
    pub async fn hears(&self, text: &str) {
        loop {
            match self.heard.try_recv() {
                Ok(heard) if heard == text => return,
                Ok(_) => {}
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

/// Sends back what comes, but for what says "silent".
async fn echo() -> (SocketAddr, std_mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = std_mpsc::sync_channel(10_000);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let Ok(text) = message.to_text().map(str::to_owned) else { continue };
                    if !message.is_text() {
                        continue;
                    }
                    drop(sender.send(text.clone()));
                    if !text.contains("silent") && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}
