use super::*;
use serde_json::Value;
use tokio_tungstenite::{client_async, tungstenite::Error};

async fn socket(address: SocketAddr, path: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    let tcp = TcpStream::connect(address).await.expect("it listens");
    client_async(format!("ws://{address}{path}"), tcp).await.map(|(socket, _)| socket)
}

#[tokio::test]
async fn echoes_ticks_and_knows_no_other_path() {
    let address = start().expect("it starts");
    let mut echo = socket(address, ECHO).await.expect("a socket");
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        echo.send(message.clone()).await.expect("sent");
        assert_eq!(echo.next().await.expect("an answer").expect("a message"), message);
    }
    let mut ticker = socket(address, TICKER).await.expect("a socket");
    for n in 1..=3 {
        let tick = ticker.next().await.expect("a tick").expect("a message");
        let tick: Value = serde_json::from_str(tick.to_text().expect("a text")).expect("JSON");
        assert_eq!((tick["symbol"].as_str(), tick["n"].as_u64()), (Some(SYMBOL), Some(n)));
    }
    match socket(address, "/nowhere").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::NOT_FOUND),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[test]
fn the_price_wanders_and_stays_a_price() {
    let mut walk = Walk { price: 10, n: 0, random: 1 };
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..=10_000 {
        let text = walk.step(Wall::from_unix_millis(n));
        let tick: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(tick["n"], n);
        assert!(tick["price"].as_f64().is_some_and(|price| price > 0.0), "{text}");
        assert!(
            tick["time"].as_str().is_some_and(|time| time.starts_with("1970-01-01T") && time.ends_with('Z'))
        );
        seen.insert(walk.price);
    }
    assert!(seen.len() > 100, "it moved");
}
