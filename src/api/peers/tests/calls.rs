use super::rig::{Client, Rig};
use crate::{api::testing::on_a_shard, core::id::ConnectionId, proto::*};
use tonic::Status;

/// An answer, or code, message and details, without what names this very connection.
fn told<T: std::fmt::Debug>(id: &str, answer: Result<tonic::Response<T>, Status>) -> String {
    let text = match answer {
        Ok(answer) => format!("{:?}", answer.into_inner()),
        Err(status) => {
            let details = status.details().escape_ascii();
            format!("{:?} {:?} {details}", status.code(), status.message())
        }
    };
    text.replace(id, "ID")
}

fn send(id: &str, message: &str) -> SendRequest {
    SendRequest { id: id.into(), message: message.into(), ..Default::default() }
}

/// Everything that can be asked of one connection, right and wrong.
async fn everything(client: &mut Client, url: &str, id: &str) -> Vec<String> {
    let mut log = Vec::new();
    macro_rules! ask {
        ($rpc:ident, $request:ident { $($field:ident: $value:expr),* }) => {{
            #[allow(clippy::needless_update, reason = "some requests have more fields")]
            let request = $request { id: id.to_owned(), $($field: $value,)* ..Default::default() };
            log.push(format!("{} {}", stringify!($rpc), told(id, client.$rpc(request).await)));
        }};
    }
    let again = ConnectRequest { url: url.into(), connection_id: id.into(), ..Default::default() };
    let other = ConnectRequest { auto_reconnect: true, ..again.clone() };
    let bad = ConnectRequest { url: "http://no".into(), ..again.clone() };
    let found = client.connect(again).await.unwrap().into_inner();
    log.push(format!("{} {}", found.created, found.status));
    log.push(told(id, client.connect(other).await));
    log.push(told(id, client.connect(bad).await));
    let found = client.get(GetRequest { id: id.into() }).await.unwrap().into_inner().connection.unwrap();
    log.push(format!("{} {} {}", found.instance_id, found.shard == 99, found.status));
    ask!(set_tag, SetTagRequest { key: "k".into(), value: "v".into() });
    ask!(set_tag, SetTagRequest { key: String::new(), value: "v".into() });
    ask!(set_tags, SetTagsRequest { tags: (0..50).map(|n| (format!("t{n}"), "v".into())).collect() });
    ask!(set_tags, SetTagsRequest { tags: [("l".to_owned(), "w".to_owned())].into() });
    ask!(get_tag, GetTagRequest { key: "k".into() });
    ask!(get_tag, GetTagRequest { key: "missing".into() });
    ask!(get_tags, GetTagsRequest {});
    ask!(start_publish, StartPublishRequest { topic: "bad topic/..".into() });
    let publish = StartPublishRequest { id: id.into(), topic: "prices".into(), ..Default::default() };
    log.push(client.start_publish(publish).await.unwrap().into_inner().next_seq.to_string());
    ask!(stop_publish, StopPublishRequest {});
    ask!(send, SendRequest { message: "hello".into() });
    ask!(send, SendRequest { data: "bytes".into(), message: "both".into() });
    ask!(send, SendRequest {});
    ask!(send_raw, SendRawRequest { message: "raw".into() });
    ask!(send_raw, SendRawRequest {});
    let mask = pbjson_types::FieldMask { paths: vec!["no_such".into()] };
    ask!(update, UpdateRequest { update_mask: Some(mask) });
    let mask = pbjson_types::FieldMask { paths: vec!["auto_reconnect".into()] };
    let settings = ConnectRequest { auto_reconnect: true, ..Default::default() };
    let update = UpdateRequest { id: id.into(), update_mask: Some(mask), settings: Some(settings) };
    let updated = client.update(update).await.unwrap().into_inner();
    log.push(format!("{:?} {:?}", updated.applied_now, updated.applied_at_reconnect));
    let requests = vec![send(id, "one"), send("no-such", "two"), send("", "three"), send(id, "four")];
    let batch = client.send_batch(SendBatchRequest { requests: requests.clone() }).await;
    log.push(told(id, batch));
    let mut results = client.send_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(result) = results.message().await.unwrap() {
        all.push(format!("{result:?}").replace(id, "ID"));
    }
    all.sort();
    log.extend(all);
    // How long it took, and how long it will, stands in these.
    for (message, timeout_ms) in [("silent", 20), ("too early", 0)] {
        let request = SendRequest { timeout_ms, ..send(id, message) };
        let status = client.send(request).await.unwrap_err();
        let message: String = status.message().chars().filter(|it| !it.is_ascii_digit()).collect();
        log.push(format!("{:?} {message} {}", status.code(), status.details().is_empty()));
    }
    ask!(disconnect, DisconnectRequest { code: 7 });
    ask!(disconnect, DisconnectRequest {});
    ask!(disconnect, DisconnectRequest {});
    ask!(get, GetRequest {});
    ask!(send, SendRequest { message: "gone".into() });
    ask!(send_raw, SendRawRequest { message: "gone".into() });
    ask!(get_tags, GetTagsRequest {});
    ask!(start_publish, StartPublishRequest { topic: "t".into() });
    ask!(update, UpdateRequest {});
    log
}

#[test]
fn every_call_is_answered_alike_through_any_instance() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        for id in ["via-own", "via-two", "via-one"] {
            rig.connect(0, id).await;
        }
        let owner = everything(&mut rig.client(0).await, &rig.url(), "via-own").await;
        let other = everything(&mut rig.client(1).await, &rig.url(), "via-two").await;
        assert_eq!(owner, other);
        for word in ["FailedPrecondition", "DeadlineExceeded", "AlreadyExists", "NotFound", "one false"] {
            assert!(owner.iter().any(|line| line.contains(word)), "{word}: {owner:#?}");
        }
        let counters = &rig.instances[1].counters;
        assert!(counters.forwarded_answered.get() > 10);
        assert!(counters.forwarded_refused.get() > 5);
        assert!(counters.holder_cache_hits.get() > 10);
        // The owner asks it only for what no document tells of.
        assert!(counters.served.get() < 12, "{}", counters.served.get());
        assert!(rig.instances[0].counters.served.get() > 20);
        // One stream a thread and member: the client has one connection, so one thread.
        assert_eq!(counters.streams_opened.get(), 1);
    });
}

#[test]
fn many_sends_for_an_unknown_id_are_few_look_ups() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect(0, "there").await;
        let requests: Vec<_> = (0..500).map(|n| send("there", &format!("{{\"id\":{n}}}"))).collect();
        let mut client = rig.client(1).await;
        let batch = client.send_batch(SendBatchRequest { requests }).await.unwrap().into_inner();
        for (n, result) in batch.results.iter().enumerate() {
            assert_eq!(result.code, 0, "{result:?}");
            assert_eq!(result.response.as_ref().unwrap().response, format!("{{\"id\":{n}}}"));
        }
        let located = rig.shared.lock().located;
        // One for each turn in which some were found not to be here.
        assert!(located < 250, "{located}");
    });
}

#[test]
fn a_chosen_id_is_one_connection_whoever_is_asked() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect(1, "mine").await;
        let again = ConnectRequest { url: rig.url(), connection_id: "mine".into(), ..Default::default() };
        let answer = rig.client(0).await.connect(again.clone()).await.unwrap().into_inner();
        assert!(!answer.created);
        let id = ConnectionId::parse("failing").unwrap();
        let nowhere = ConnectRequest {
            url: "ws://127.0.0.1:1/".into(),
            connection_id: id.to_string(),
            ..Default::default()
        };
        let failed = rig.client(0).await.connect(nowhere).await.unwrap_err();
        assert_eq!(failed.code(), tonic::Code::Unavailable, "{failed:?}");
        assert_eq!(rig.shared.lock().unclaimed, std::slice::from_ref(&id));
        assert!(!rig.shared.lock().owners.contains_key(&id));
        // In use with other settings is no failed dial: it stays claimed.
        let other = ConnectRequest { auto_reconnect: true, ..again };
        assert_eq!(rig.client(1).await.connect(other).await.unwrap_err().code(), tonic::Code::AlreadyExists);
        assert_eq!(rig.shared.lock().unclaimed.len(), 1);
        // Minted ids are local.
        let minted = ConnectRequest { url: rig.url(), ..Default::default() };
        let minted = rig.client(0).await.connect(minted).await.unwrap().into_inner().id;
        let got = rig.client(1).await.get(GetRequest { id: minted }).await.unwrap().into_inner();
        assert_eq!(got.connection.unwrap().instance_id, "one");
    });
}

#[test]
fn a_list_is_paged_over_all_instances_and_by_any() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two", "three"]).await;
        let mut expected = Vec::new();
        for number in 0..10 {
            let id = format!("c{number}");
            rig.connect(number % 3, &id).await;
            expected.push((id, ["one", "two", "three"][number % 3].to_owned()));
        }
        let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request = ListRequest { page_size: 4, page_token: token, ..Default::default() };
            let page = rig.client(pages % 3).await.list(request).await.unwrap().into_inner();
            if pages == 0 {
                assert_eq!(page.total, 10);
            }
            pages += 1;
            found.extend(page.connections.into_iter().map(|it| (it.id, it.instance_id)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((found, pages), (expected, 3));
        let of = |instance: &str| ListRequest { instance: instance.into(), ..Default::default() };
        let only = rig.client(0).await.list(of("three")).await.unwrap().into_inner();
        assert_eq!(only.connections.len(), 3);
        assert!(only.connections.iter().all(|it| it.instance_id == "three"));
        assert!(rig.client(0).await.list(of("nobody")).await.unwrap().into_inner().connections.is_empty());
        let bad = ListRequest { page_size: -1, ..Default::default() };
        assert_eq!(rig.client(0).await.list(bad).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    });
}

#[test]
fn a_call_of_a_member_is_never_passed_on() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        // Each is told that the other has it.
        let id = ConnectionId::parse("astray").unwrap();
        rig.shared.lock().owners.insert(id.clone(), "two#1".into());
        let missing = rig.client(0).await.get(GetRequest { id: id.to_string() }).await.unwrap_err();
        assert_eq!(missing.code(), tonic::Code::Unavailable, "its document stands: {missing:?}");
        assert!(missing.message().contains("on its way from one instance to another"), "{missing:?}");
        assert_eq!(rig.instances[1].counters.served.get(), 2, "asked, and once more after a look-up");
        assert_eq!(rig.instances[0].counters.served.get(), 0);
        rig.shared.lock().leaving.insert(id.clone());
        let orphan = rig.client(0).await.get(GetRequest { id: id.to_string() }).await.unwrap_err();
        assert_eq!(orphan.code(), tonic::Code::Unavailable);
        assert!(orphan.message().contains("its instance is gone; another one is taking it over"));
        assert!(orphan.message().contains("not_sent"));
    });
}

/// The code, and whether it is said that nothing was sent.
async fn refused(client: &mut Client, id: &str) -> (tonic::Code, bool) {
    let status = client.get(GetRequest { id: id.into() }).await.unwrap_err();
    (status.code(), status.message().contains("not_sent"))
}

#[test]
fn what_a_member_lets_go_of_is_not_gone() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect_for_good(1, "kept").await;
        rig.connect(1, "once").await;
        rig.connect(0, "other").await;
        rig.instances[1].let_go().await;
        for instance in [0, 1] {
            let mut client = rig.client(instance).await;
            assert_eq!(refused(&mut client, "kept").await, (tonic::Code::Unavailable, true), "{instance}");
            let raw = SendRawRequest { id: "kept".into(), message: "a".into(), ..Default::default() };
            assert_eq!(client.send_raw(raw).await.unwrap_err().code(), tonic::Code::Unavailable);
            // No document tells of them, and no member need be afraid that the one that leaves has them.
            for gone in ["once", "never"] {
                assert_eq!(refused(&mut client, gone).await, (tonic::Code::NotFound, false), "{gone}");
            }
            // Of a connection that is there only the tag is missing.
            let tag = GetTagRequest { id: "other".into(), key: "none".into() };
            assert_eq!(client.get_tag(tag).await.unwrap_err().code(), tonic::Code::NotFound);
        }
        let list = rig.client(0).await.list(ListRequest::default()).await.unwrap().into_inner();
        let ids: Vec<_> = list.connections.iter().map(|it| it.id.as_str()).collect();
        assert_eq!((ids, list.total), (vec!["kept", "other"], 2), "what was let go of is in the store");
        let short = rig.client(1).await.list(ListRequest::default()).await.unwrap_err();
        assert_eq!(short.code(), tonic::Code::Unavailable);
    });
}
