//! A service that answers each Send after a delay that is known, and stands still when it is told to.

use loadtest::{
    clock::{self, SECOND},
    proto::{
        ConnectRequest, ConnectResponse, SendBatchRequest, SendBatchResponse, SendRequest, SendResponse,
        SendResult,
        web_socket_manager_server::{WebSocketManager, WebSocketManagerServer},
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

#[derive(Clone, Default)]
struct Counts {
    accepted: Arc<AtomicU64>,
    /// Added to what it says that it accepted.
    lie: u64,
}

#[derive(Clone)]
struct Sender {
    delay: Duration,
    counts: Counts,
}

pub struct Fake {
    pub grpc: SocketAddr,
    /// What stands for the service's program: prints a ready line and stays.
    pub program: PathBuf,
    stall: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Fake {
    pub fn start(delay: Duration) -> Self {
        Self::start_with(delay, 0)
    }

    /// One whose count of Sends is wrong by so many.
    pub fn start_with(delay: Duration, lie: u64) -> Self {
        let counts = Counts { lie, ..Counts::default() };
        let admin = metrics(counts.clone());
        let stall = Arc::new(AtomicU64::new(0));
        let grpc = serve(Sender { delay, counts }, stall.clone());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("service.sh");
        let ready =
            format!("ready http={admin} grpc={grpc} admin={admin} instance=fake backend=none shards=1");
        std::fs::write(&program, format!("#!/bin/sh\necho '{ready}'\nexec /bin/sleep 600\n"))
            .expect("a file");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        Fake { grpc, program, stall, _folder: folder }
    }

    /// Does nothing at all from then on for a second.
    pub fn stall_at(&self, at: u64) {
        self.stall.store(at, Ordering::Relaxed);
    }
}

/// One thread: when it stalls, everything does.
fn serve(sender: Sender, stall: Arc<AtomicU64>) -> SocketAddr {
    let (told, address) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            told.send(listener.local_addr().expect("bound")).expect("awaited");
            tokio::spawn(async move {
                loop {
                    let at = stall.load(Ordering::Relaxed);
                    if at > 0 && clock::now() >= at {
                        stall.store(0, Ordering::Relaxed);
                        clock::sleep_until(at + SECOND);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            let service = WebSocketManagerServer::new(sender);
            let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            let served = tonic::transport::Server::builder().add_service(service);
            served.serve_with_incoming(incoming).await.expect("it serves");
        });
    });
    address.recv().expect("it binds")
}

/// Answers every request with the counters.
fn metrics(counts: Counts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who comes and asks nothing keeps no other.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read(&mut [0; 4096]);
            let accepted = counts.accepted.load(Ordering::Relaxed);
            // Its own books balance, however it lies.
            let told = if accepted > 0 { accepted + counts.lie } else { 0 };
            let body = format!(
                "wsm_sends_accepted_total {told}\nwsm_sends_ended_total{{shard=\"0\",outcome=\"replied\"}} {told}\n"
            );
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        }
    });
    address
}

type Answer = Result<SendResult, Status>;

struct Results(tokio::sync::mpsc::Receiver<Answer>);

impl futures_core::Stream for Results {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.0.poll_recv(cx)
    }
}

fn echoed(request: SendRequest) -> SendResult {
    let response = SendResponse { response: request.message, ..SendResponse::default() };
    SendResult { tag: request.tag, response: Some(response), ..SendResult::default() }
}

#[tonic::async_trait]
impl WebSocketManager for Sender {
    async fn connect(&self, request: Request<ConnectRequest>) -> Result<Response<ConnectResponse>, Status> {
        let id = request.into_inner().url;
        Ok(Response::new(ConnectResponse { id, ..ConnectResponse::default() }))
    }

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.delay).await;
        Ok(Response::new(echoed(request.into_inner()).response.unwrap_or_default()))
    }

    async fn send_batch(
        &self,
        request: Request<SendBatchRequest>,
    ) -> Result<Response<SendBatchResponse>, Status> {
        let requests = request.into_inner().requests;
        self.counts.accepted.fetch_add(requests.len() as u64, Ordering::Relaxed);
        tokio::time::sleep(self.delay).await;
        Ok(Response::new(SendBatchResponse { results: requests.into_iter().map(echoed).collect() }))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<SendRequest>>,
    ) -> Result<Response<BoxStream<SendResult>>, Status> {
        let (sender, answers) = tokio::sync::mpsc::channel(100_000);
        let (mut requests, this) = (request.into_inner(), self.clone());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                this.counts.accepted.fetch_add(1, Ordering::Relaxed);
                let (sender, due) = (sender.clone(), tokio::time::Instant::now() + this.delay);
                tokio::spawn(async move {
                    tokio::time::sleep_until(due).await;
                    let _ = sender.send(Ok(echoed(request))).await;
                });
            }
        });
        Ok(Response::new(Box::pin(Results(answers))))
    }
}
