use super::*;
use crate::api::{
    grpc,
    testing::{ANY, ask, edge, on_a_shard, raw, service, start},
};
use axum::{Router, routing::get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn shards_share_a_port_that_nobody_else_has() {
    let listeners = bind_shards(ANY.parse().unwrap(), 3).unwrap();
    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    assert!(ports.len() == 3 && ports.iter().all(|port| *port == ports[0] && *port != 0));
    let again = bind_shards(listeners[0].local_addr().unwrap(), 1).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn http1_on_the_grpc_port_is_told_where_to_go() {
    on_a_shard(async {
        let running = start(grpc::routes(&service(), Arc::default()));
        let answer =
            raw(running.address, "POST /v1/connections HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
                .await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("REST is on the HTTP port"), "{}", answer.body);
        assert_eq!(running.counters.wrong_protocol.get(), 1);
    });
}

/// Lets every task run that can, then moves the paused clock.
async fn pass(time: Duration) {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(time).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_slow_client_has_five_seconds_in_all() {
    on_a_shard(async {
        let running = start(edge());
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        let mut dripping = TcpStream::connect(running.address).await.unwrap();
        dripping.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        let mut served = TcpStream::connect(running.address).await.unwrap();
        served.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut head = [0; 15];
        served.read_exact(&mut head).await.unwrap();
        while running.counters.accepted.get() < 3 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        for second in 0..4 {
            pass(Duration::from_secs(1)).await;
            dripping.write_all(format!("x-{second}: 1\r\n").as_bytes()).await.unwrap();
        }
        assert_eq!(running.counters.handshakes_timed_out.get(), 0);
        pass(Duration::from_millis(1100)).await;
        tokio::time::resume();
        assert_eq!(running.counters.handshakes_timed_out.get(), 2);
        for client in [&mut silent, &mut dripping] {
            assert!(matches!(client.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        }
        // One that was served may idle.
        served.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        served.read_to_end(&mut rest).await.unwrap();
        assert!(String::from_utf8_lossy(&rest).contains("HTTP/1.1 200 OK"));
    });
}

#[test]
fn heads_are_bounded() {
    on_a_shard(async {
        let running = start(edge());
        let many: String = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect();
        assert_eq!(ask(running.address, "GET", "/livez", &many, "").await.status, 431);
        let long = format!("x: {}\r\n", "y".repeat(17_000));
        assert_eq!(ask(running.address, "GET", "/livez", &long, "").await.status, 431);
    });
}

#[test]
fn a_stop_lets_requests_finish_and_cuts_what_does_not() {
    on_a_shard(async {
        let (release, held) = Stop::new();
        let router = Router::new()
            .route(
                "/held",
                get(async move || {
                    held.wait().await;
                    "done"
                }),
            )
            .route("/never", get(std::future::pending::<()>));
        let running = start(router);
        let mut connections = Vec::new();
        for path in ["/held", "/never"] {
            let mut tcp = TcpStream::connect(running.address).await.unwrap();
            tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
            connections.push(tcp);
        }
        let mut idle = TcpStream::connect(running.address).await.unwrap();
        while running.counters.accepted.get() < 3 {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        running.stop.stop();
        release.stop();
        let mut answer = Vec::new();
        connections[0].read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).ends_with("done"));
        let cut = running.ended.await.unwrap().unwrap();
        assert!((1..=2).contains(&cut), "{cut}");
        assert_eq!(running.counters.cut_at_shutdown.get(), cut as u64);
        assert!(matches!(idle.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        assert!(TcpStream::connect(running.address).await.is_err(), "no longer listening");
    });
}

#[test]
fn over_the_bound_the_oldest_half_open_goes_when_it_has_had_its_time() {
    on_a_shard(async {
        let half_open = HalfOpen::default();
        let (address, began) = (IpAddr::from([127, 0, 0, 1]), Instant::now());
        let enter = |now: Instant| {
            let (number, ticket) = half_open.enter(address, now);
            let task = tokio::task::spawn_local(async move {
                let _held = ticket;
                std::future::pending::<()>().await;
            });
            let evicted = half_open.admit(number, task.abort_handle(), now);
            (task, evicted)
        };
        let (mut places, bound) = (Vec::new(), limits::HALF_OPEN_PER_ADDRESS_MAX);
        for _ in 0..bound + 10 {
            let (task, evicted) = enter(began);
            assert!(!evicted, "all of them came just now");
            places.push(task);
        }
        let (task, evicted) = enter(began + limits::HALF_OPEN_GRACE);
        assert!(evicted);
        places.push(task);
        assert!((&mut places[0]).await.unwrap_err().is_cancelled());
        assert!(!places[1].is_finished());
        while places.len() <= bound * limits::HALF_OPEN_CROWD {
            let (task, evicted) = enter(began + limits::HALF_OPEN_GRACE / 2);
            assert!(!evicted);
            places.push(task);
        }
        let (task, evicted) = enter(began + limits::HALF_OPEN_GRACE / 2);
        assert!(evicted, "a crowd of any age has a bound");
        places.push(task);
        let counts = {
            let waiting = half_open.0.borrow();
            (waiting.by_age.len(), waiting.by_address[&address].len())
        };
        assert_eq!(counts, (bound * limits::HALF_OPEN_CROWD, bound * limits::HALF_OPEN_CROWD));
        places.iter().for_each(|task| task.abort());
        for task in places.drain(1..) {
            let _ = task.await;
        }
        assert!(half_open.0.borrow().by_address.is_empty());
    });
}

/// Nobody makes a half-open one go but who comes in: so those who loiter must never shut the door.
#[test]
fn who_loiters_takes_no_place_of_those_who_are_served() {
    let (most, crowd) = (limits::CLIENTS_PER_LISTENER_MAX, limits::HALF_OPEN_MAX * limits::HALF_OPEN_CROWD);
    assert!(has_room(most, crowd.min(most)));
    assert!(has_room(most - 1 + crowd, crowd));
    assert!(!has_room(most + crowd, crowd));
    assert!(!has_room(most, 0));
}

#[test]
fn of_an_address_with_too_many_its_own_oldest_goes() {
    on_a_shard(async {
        let half_open = HalfOpen::default();
        let (other, address) = (IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 1]));
        let (began, mut places) = (Instant::now(), Vec::new());
        let later = began + limits::HALF_OPEN_GRACE;
        let mut enter = |from: IpAddr, now: Instant| {
            let (number, ticket) = half_open.enter(from, now);
            let task = tokio::task::spawn_local(async move {
                let _held = ticket;
                std::future::pending::<()>().await;
            });
            let evicted = half_open.admit(number, task.abort_handle(), now);
            places.push(number);
            evicted
        };
        assert!(!enter(other, began));
        for _ in 0..limits::HALF_OPEN_PER_ADDRESS_MAX {
            assert!(!enter(address, began));
        }
        assert!(enter(address, later));
        let waiting = half_open.0.borrow();
        assert_eq!(waiting.by_address[&other].len(), 1, "older, but not of that address");
        assert!(!waiting.by_age.contains_key(&places[1]));
        assert!(waiting.by_address[&address].first() == Some(&places[2]));
        assert_eq!(half_open.len(), 1 + limits::HALF_OPEN_PER_ADDRESS_MAX);
    });
}
