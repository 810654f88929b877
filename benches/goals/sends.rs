//! Send, one call at a time and on one stream: the built service in its own pinned process,
//! against an echo over the same gRPC stack plus a direct WebSocket call.

use crate::common::{
    calls::{Calls, Timings},
    median, message, os, peer,
    raw::direct_calls,
    runs, scaled,
    service::{Service, channel, runtime},
    table::Row,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::mpsc as std_mpsc,
    task::{Context, Poll},
    thread,
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::body::Body;
use websocket_manager::proto::{
    ConnectRequest, SendRequest, SendResponse, web_socket_manager_client::WebSocketManagerClient,
};

const BYTES: usize = 256;
/// Clients keep some connections open; each is a socket of its own.
const CHANNELS: usize = 8;
const ID: &str = "bench";

pub fn unary() -> Vec<Row> {
    let echo = peer::echo(1);
    let server = EchoServer::start();
    let many = Calls { connections: 64, window: 1, total: scaled(40_000), bytes: BYTES };
    let one = Calls { connections: 1, window: 1, total: scaled(8_000), bytes: BYTES };
    let service = start_service(echo, many.connections);
    let (mut ours, mut grpc, mut direct) = (Measured::default(), Measured::default(), Measured::default());
    for run in 0..=runs() {
        for (plan, busy) in [(many, true), (one, false)] {
            let all = [
                (&mut grpc, call_unary(server.address, plan, &[server.clock])),
                (&mut direct, direct_calls(echo, plan)),
                (&mut ours, call_unary(service.address, plan, &[service.clock])),
            ];
            for (measured, timings) in all {
                if run > 0 {
                    measured.add(&timings, busy);
                }
            }
        }
    }
    let floor = grpc.cpu() + direct.cpu();
    let mut cpu = Row::ratio("unary Send, CPU of the service", 1.15, ours.cpu(), floor, "us");
    cpu.floor = format!("{:.2} us gRPC + {:.2} us WebSocket", grpc.cpu(), direct.cpu());
    let mut p50 =
        Row::ratio("unary Send, p50 with one under way", 1.05, ours.p50(), grpc.p50() + direct.p50(), "us");
    p50.floor = format!("{:.0} us gRPC + {:.0} us WebSocket", grpc.p50(), direct.p50());
    vec![cpu, p50]
}

pub fn stream() -> Vec<Row> {
    let echo = peer::echo(1);
    let single = Calls { connections: 64, window: 1, total: scaled(200_000), bytes: BYTES };
    let pipelined = Calls { connections: 8, window: 64, total: scaled(400_000), bytes: BYTES };
    let service = start_service(echo, 64);
    [("1 a connection under way", single, 1.5), ("512 under way on 8", pipelined, 0.6)]
        .into_iter()
        .map(|(name, plan, bound)| {
            let (mut ours, mut direct) = (Vec::new(), Vec::new());
            for run in 0..=runs() {
                let floor = direct_calls(echo, plan).cpu_micros;
                let spent = call_stream(service.address, plan, service.clock).cpu_micros;
                if run > 0 {
                    ours.push(spent);
                    direct.push(floor);
                }
            }
            let goal = format!("Send on SendStream, {name}");
            Row::ratio(&goal, bound, median(ours), median(direct), "us")
        })
        .collect()
}

#[derive(Default)]
struct Measured {
    busy_cpu: Vec<f64>,
    single_p50: Vec<f64>,
}

impl Measured {
    fn add(&mut self, timings: &Timings, busy: bool) {
        if std::env::var_os("BENCH_VERBOSE").is_some() {
            eprintln!("{timings:?}");
        }
        if busy {
            self.busy_cpu.push(timings.cpu_micros);
        } else {
            self.single_p50.push(timings.p50_micros);
        }
    }

    fn cpu(&self) -> f64 {
        median(self.busy_cpu.clone())
    }

    fn p50(&self) -> f64 {
        median(self.single_p50.clone())
    }
}

fn start_service(upstream: SocketAddr, connections: usize) -> Service {
    let service = Service::start(&[]);
    service.connect_all(connects(upstream, connections));
    service
}

/// Connections that `call_unary` sends on.
pub fn connects(upstream: SocketAddr, count: usize) -> impl Iterator<Item = ConnectRequest> {
    (0..count).map(move |number| ConnectRequest {
        url: format!("ws://{upstream}/"),
        connection_id: format!("{ID}-{number}"),
        ..Default::default()
    })
}

fn request(connection: usize, number: usize, bytes: usize) -> SendRequest {
    SendRequest {
        id: format!("{ID}-{connection}"),
        message: message(&format!("{number:08}"), bytes),
        tag: connection as u64,
        ..Default::default()
    }
}

/// The CPU is what these clocks say together.
pub fn call_unary(address: SocketAddr, plan: Calls, clocks: &[os::CpuClock]) -> Timings {
    let spent = || clocks.iter().map(|clock| clock.nanos()).sum::<u64>();
    runtime().block_on(async {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS.min(plan.connections) {
            channels.push(channel(address).await);
        }
        let before = spent();
        let callers: Vec<_> = (0..plan.connections)
            .map(|connection| {
                let mut client = WebSocketManagerClient::new(channels[connection % channels.len()].clone());
                tokio::spawn(async move {
                    let mut waits = Vec::with_capacity(plan.each());
                    for number in 0..plan.each() {
                        let since = Instant::now();
                        client.send(request(connection, number, plan.bytes)).await.expect("a reply");
                        waits.push(since.elapsed().as_nanos() as u64);
                    }
                    waits
                })
            })
            .collect();
        let mut waits = Vec::new();
        for caller in callers {
            waits.extend(caller.await.expect("no panic"));
        }
        Timings::new(plan, spent() - before, waits)
    })
}

fn call_stream(address: SocketAddr, plan: Calls, clock: os::CpuClock) -> Timings {
    runtime().block_on(async {
        let mut client = WebSocketManagerClient::new(channel(address).await);
        let (sender, requests) = mpsc::channel(plan.connections * plan.window);
        let mut sent = vec![0; plan.connections];
        for (connection, sent) in sent.iter_mut().enumerate() {
            for _ in 0..plan.window {
                sender.try_send(request(connection, *sent, plan.bytes)).expect("room");
                *sent += 1;
            }
        }
        let before = clock.nanos();
        let mut results =
            client.send_stream(ReceiverStream::new(requests)).await.expect("a stream").into_inner();
        for _ in 0..plan.made() {
            let result = results.next().await.expect("a result").expect("a result");
            assert_eq!(result.code, 0, "{}", result.message);
            let connection = result.tag as usize;
            if sent[connection] < plan.each() {
                sender.try_send(request(connection, sent[connection], plan.bytes)).expect("room");
                sent[connection] += 1;
            }
        }
        Timings::new(plan, clock.nanos() - before, Vec::new())
    })
}

/// tonic as it comes, on one thread: what any service on this stack pays.
struct EchoServer {
    address: SocketAddr,
    clock: os::CpuClock,
}

impl EchoServer {
    fn start() -> Self {
        let (sender, started) = std_mpsc::sync_channel(64);
        thread::spawn(move || {
            os::pin(0);
            let runtime = runtime();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let address = listener.local_addr().expect("bound");
                sender.send((address, os::CpuClock::of_this_thread())).expect("awaited");
                let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
                let served =
                    tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(incoming);
                served.await.expect("it serves");
            });
        });
        let (address, clock) = started.recv().expect("an address");
        EchoServer { address, clock }
    }
}

#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "virtufin.WebSocketManager";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<SendResponse, SendRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(EchoSend, request).await)
        })
    }
}

struct EchoSend;

impl tonic::server::UnaryService<SendRequest> for EchoSend {
    type Response = SendResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<SendResponse>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<SendRequest>) -> Self::Future {
        let response = SendResponse { response: request.into_inner().message, ..Default::default() };
        Box::pin(async move { Ok(tonic::Response::new(response)) })
    }
}
