use super::rig::{Instance, Plan, Rig};
use crate::{
    api::{
        peers::hello,
        testing::{on_a_shard, start},
    },
    core::id::ConnectionId,
    ports::Member,
    proto::{
        fleet::{
            Call, Fault, FollowReply, FollowRequest, Reply, RoomsAsk, RoomsTold, call::Rpc,
            peers_client::PeersClient, peers_server, reply::Outcome,
        },
        *,
    },
};
use std::pin::Pin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Endpoint};

fn send(id: &str, message: &str) -> SendRequest {
    SendRequest { id: id.into(), message: message.into(), ..Default::default() }
}

/// A member at this address that owns `id`.
fn add_member(rig: &Rig, incarnation: &str, address: &str, id: &str) {
    let member = Member {
        incarnation: incarnation.into(),
        instance: incarnation.split('#').next().unwrap().into(),
        address: address.into(),
    };
    let mut shared = rig.shared.lock();
    shared.members.insert(incarnation.into(), member);
    shared.owners.insert(ConnectionId::parse(id).unwrap(), incarnation.into());
}

fn not_sent(status: &Status, address: &str) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    for word in [address, "not_sent"] {
        assert!(status.message().contains(word), "{word}: {status:?}");
    }
    assert!(status.details().escape_ascii().to_string().contains("not_sent"));
}

#[test]
fn a_peer_that_dies_in_the_middle_of_a_send_leaves_doubt() {
    on_a_shard(async {
        // One thread: a process dies at once, and threads one by one.
        let mut rig = Rig::of(vec![Plan { shards: 1, ..Plan::new("one") }, Plan::new("two")]).await;
        rig.connect(0, "doomed").await;
        let mut client = rig.client(1).await;
        client.send(send("doomed", "before")).await.unwrap();
        let waits = tokio::spawn(async move { client.send(send("doomed", "silent")).await });
        rig.hears("silent").await;
        rig.instances[0].kill();
        let status = waits.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{status:?}");
        assert!(status.message().contains("maybe_sent"), "{status:?}");
        // From now on nothing gets there.
        let address = rig.instances[0].address.to_string();
        let mut client = rig.client(1).await;
        not_sent(&client.send(send("doomed", "after")).await.unwrap_err(), &address);
        let get = GetRequest { id: "doomed".into() };
        assert_eq!(client.get(get).await.unwrap_err().code(), Code::Unavailable);
        // What it had is listed as the store has it, page by page and filtered like the rest.
        let list = client.list(ListRequest::default()).await.unwrap().into_inner();
        assert_eq!((list.total, list.connections[0].id.as_str()), (1, "doomed"));
        assert_eq!(list.connections[0].status(), ConnectionStatus::Reconnecting);
        let filter = |value: &str| ListRequest {
            filters: vec![TagFilter { key: "k".into(), value: value.into() }],
            ..Default::default()
        };
        assert_eq!(client.list(filter("v")).await.unwrap().into_inner().total, 1);
        assert_eq!(client.list(filter("w")).await.unwrap().into_inner().total, 0);
        rig.shared.lock().members.remove("one#1");
        assert!(client.list(ListRequest::default()).await.is_ok());
        let status = client.send(send("doomed", "later")).await.unwrap_err();
        assert!(status.message().contains("taking it over"), "{status:?}");
        let again = ConnectRequest { url: rig.url(), connection_id: "doomed".into(), ..Default::default() };
        let connect = client.connect(again).await.unwrap_err();
        assert!(connect.message().contains("taking it over"), "{connect:?}");
    });
}

#[test]
fn who_is_not_who_was_meant_gets_nothing() {
    on_a_shard(async {
        let rig = Rig::of(vec![
            Plan::new("one"),
            Plan::new("two"),
            Plan { key: Some([9; 32]), ..Plan::new("stranger") },
            Plan { key: None, ..Plan::new("keyless") },
        ])
        .await;
        let mut client = rig.client(0).await;
        // Another run at the address of an old one.
        let address = rig.instances[1].address.to_string();
        add_member(&rig, "two#0", &address, "old-run");
        let status = client.send(send("old-run", "x")).await.unwrap_err();
        not_sent(&status, &address);
        assert!(status.message().contains("'two#0'"), "{status:?}");
        // Of another fleet, or without a key.
        for (instance, id) in [(2, "foreign"), (3, "bare")] {
            let Instance { member, address, .. } = &rig.instances[instance];
            add_member(&rig, &member.incarnation, &address.to_string(), id);
            not_sent(&client.send(send(id, "x")).await.unwrap_err(), &address.to_string());
        }
        // Nobody listens.
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        add_member(&rig, "nobody#1", &address, "unheard");
        not_sent(&client.send(send("unheard", "x")).await.unwrap_err(), &address);
        // Somebody else does.
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = other.accept().await {
                let _ = tcp.write_all(b"220 mail.example.com ESMTP\r\n").await;
                let _ = tcp.read(&mut [0; 1024]).await;
            }
        });
        add_member(&rig, "mail#1", &address, "posted");
        not_sent(&client.send(send("posted", "x")).await.unwrap_err(), &address);
        assert_eq!(rig.instances[1].counters.served.get(), 0);
    });
}

#[test]
fn a_caller_that_goes_away_cancels_at_the_owner() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect(0, "patient").await;
        let mut client = rig.client(1).await;
        let mut waiting = client.clone();
        let waits = tokio::spawn(async move { waiting.send(send("patient", "silent")).await });
        rig.hears("silent").await;
        let in_flight = async |client: &mut super::rig::Client| {
            let got = client.get(GetRequest { id: "patient".into() }).await.unwrap().into_inner();
            got.connection.unwrap().sends_in_flight
        };
        assert_eq!(in_flight(&mut client).await, 1);
        waits.abort();
        while in_flight(&mut client).await != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.instances[1].counters.forwarded_cancelled.get(), 1);
    });
}

#[test]
fn the_owner_keeps_to_the_deadline_of_a_call() {
    on_a_shard(async {
        let rig = Rig::start(&["one"]).await;
        rig.connect(0, "slow").await;
        let address = format!("http://{}", rig.instances[0].address);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let hello = hello::greet(&super::rig::KEY, hello::Side::Caller, "two#1", "one#1", None);
        let calls = vec![
            Call { rpc: Some(Rpc::Hello(hello)), ..Default::default() },
            Call {
                number: 3,
                deadline_ms: Some(50),
                rpc: Some(Rpc::Send(send("slow", "silent"))),
                ..Default::default()
            },
        ];
        let open = tokio_stream::StreamExt::chain(tokio_stream::iter(calls), tokio_stream::pending());
        let mut replies = PeersClient::new(channel).calls(open).await.unwrap().into_inner();
        replies.message().await.unwrap();
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.number, 3);
        assert!(
            matches!(&reply.outcome, Some(Outcome::Fault(fault)) if fault.kind == "timed_out"),
            "{reply:?}"
        );
    });
}

#[test]
fn only_a_member_may_name_a_caller_or_hand_over() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect(0, "named").await;
        let address = format!("http://{}", rig.instances[0].address);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let mut client = PeersClient::new(channel);
        let ask = async |client: &mut PeersClient<_>, key: &hello::PeerKey, principal: &str| {
            let hello = hello::greet(key, hello::Side::Caller, "two#1", "one#1", None);
            let calls = vec![
                Call { rpc: Some(Rpc::Hello(hello)), ..Default::default() },
                Call {
                    number: 7,
                    principal: principal.into(),
                    rpc: Some(Rpc::Get(GetRequest { id: "named".into() })),
                    ..Default::default()
                },
                Call { number: 8, rpc: Some(Rpc::Abort(Default::default())), ..Default::default() },
            ];
            let open = tokio_stream::StreamExt::chain(tokio_stream::iter(calls), tokio_stream::pending());
            let mut replies = client.calls(open).await.unwrap().into_inner();
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                let Reply { number, outcome } = replies.message().await.unwrap().unwrap();
                outcomes.push((number, outcome.unwrap()));
            }
            outcomes.sort_by_key(|(number, _)| *number);
            outcomes.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>()
        };
        let outcomes = ask(&mut client, &super::rig::KEY, "alice").await;
        assert!(matches!(outcomes[0], Outcome::Hello(_)), "{outcomes:?}");
        assert!(matches!(outcomes[1], Outcome::Get(_)), "{outcomes:?}");
        assert!(matches!(&outcomes[2], Outcome::Fault(fault) if fault.kind == "unavailable"), "{outcomes:?}");
        let outcomes = ask(&mut client, &None, "alice").await;
        assert!(matches!(&outcomes[1], Outcome::Fault(fault) if fault.kind == "unauthenticated"));
        assert!(matches!(&outcomes[2], Outcome::Fault(fault) if fault.kind == "forbidden"), "{outcomes:?}");
        let outcomes = ask(&mut client, &None, "").await;
        assert!(matches!(outcomes[1], Outcome::Get(_)), "like any client: {outcomes:?}");
    });
}

/// A member that keeps what it was asked and refuses it with a kind that nobody knows.
struct Recorder(mpsc::Sender<Call>);

type Items<T> = Pin<Box<dyn futures_core::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl peers_server::Peers for Recorder {
    type CallsStream = Items<Reply>;
    type FollowStream = Items<FollowReply>;
    type RoomsStream = Items<RoomsTold>;

    async fn calls(&self, request: Request<Streaming<Call>>) -> Result<Response<Items<Reply>>, Status> {
        let asked = self.0.clone();
        let calls = tokio_stream::StreamExt::map(request.into_inner(), move |call| {
            let call = call?;
            let outcome = match &call.rpc {
                Some(Rpc::Hello(hello)) => Outcome::Hello(hello::greet(
                    &super::rig::KEY,
                    hello::Side::Called,
                    &hello.to,
                    &hello.from,
                    Some(hello.nonce.clone()),
                )),
                _ => Outcome::Fault(Fault { kind: "of tomorrow".into(), ..Default::default() }),
            };
            let number = call.number;
            asked.try_send(call).map_err(|_| Status::internal("nobody listens"))?;
            Ok(Reply { number, outcome: Some(outcome) })
        });
        Ok(Response::new(Box::pin(calls)))
    }

    async fn follow(&self, _: Request<FollowRequest>) -> Result<Response<Items<FollowReply>>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn rooms(&self, _: Request<Streaming<RoomsAsk>>) -> Result<Response<Items<RoomsTold>>, Status> {
        Err(Status::unimplemented("no"))
    }
}

#[test]
fn deadline_and_trace_arrive_and_an_unknown_fault_is_internal() {
    on_a_shard(async {
        let rig = Rig::start(&["one"]).await;
        let (asked, mut calls) = mpsc::channel(16);
        let routes = tonic::service::Routes::new(peers_server::PeersServer::new(Recorder(asked)));
        let running = start(routes.prepare().into_axum_router());
        add_member(&rig, "recorder#1", &running.address.to_string(), "kept");
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut request = Request::new(GetRequest { id: "kept".into() });
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        request.metadata_mut().insert("grpc-timeout", "30S".parse().unwrap());
        assert_eq!(rig.client(0).await.get(request).await.unwrap_err().code(), Code::Internal);
        let hello = calls.recv().await.unwrap();
        assert!(matches!(hello.rpc, Some(Rpc::Hello(hello)) if hello.from == "one#1"));
        let call = calls.recv().await.unwrap();
        assert_eq!(call.traceparent, trace);
        assert!(call.deadline_ms.is_some_and(|left| left > 0 && left <= 30_000), "{call:?}");
        assert_eq!(call.rpc, Some(Rpc::Get(GetRequest { id: "kept".into() })));
    });
}
