//! Rooms on one instance, as clients and applications see them.

mod coming_in;
mod connections;
mod fleet;
mod history;
mod members;
mod sending;

use crate::harness::{Service, http::Answer};
use serde_json::{Value, json};

/// Sends a text to a room by REST; its place.
async fn send(service: &Service, room: &str, text: &str) -> (u64, u64) {
    let answer =
        service.http().post(&format!("/v1/rooms/{room}/messages"), &json!({ "message": text })).await;
    place(&answer)
}

fn place(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let position = &answer.json()["positions"][0];
    (number(&position["epoch"]), number(&position["offset"]))
}

/// In proto3's JSON a 64-bit number is a string.
fn number(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok()).expect("a number")
}
