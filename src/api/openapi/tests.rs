use super::*;
use std::collections::BTreeSet;

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for target in found {
        let schema = document.pointer(target.trim_start_matches('#')).unwrap_or_else(|| panic!("{target}"));
        assert!(schema.as_object().is_some_and(|schema| !schema.is_empty()), "{target} is empty");
    }
}

#[test]
fn every_route_is_described_once_and_every_rpc_but_the_client_stream_has_one() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{}", route.path);
        for status in statuses(route) {
            assert!(operation["responses"][status.to_string()].is_object());
        }
        let in_path =
            operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path").count();
        assert_eq!(in_path, path_names(route.path).len());
        assert_eq!(operation["requestBody"].is_object(), route.body);
    }
    let covered: BTreeSet<_> = ROUTES.iter().map(|route| route.rpc.name()).collect();
    for rpc in
        ["Connect", "List", "Get", "Update", "Disconnect", "StartPublish", "StopPublish", "Send", "SendRaw"]
            .into_iter()
            .chain(["SetTag", "GetTag", "SetTags", "GetTags", "SendBatch", "Receive", "Watch"])
    {
        assert!(covered.contains(rpc), "{rpc}");
    }
    for rpc in ["Send", "Broadcast", "SendToUser", "KickUser", "Join", "Leave"].into_iter().chain([
        "ListRooms",
        "ListMembers",
        "History",
    ]) {
        assert!(covered.contains(&*format!("Rooms.{rpc}")), "{rpc}");
    }
}

/// One method name is in two services: each route has its own request and answer.
#[test]
fn the_routes_of_rooms_are_those_of_their_service() {
    let document = document();
    let send = &document["paths"]["/v1/rooms:send"]["post"];
    assert_eq!(send["operationId"], "RoomsSend_send");
    let body = &send["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/RoomSendRequest");
    let one = &document["paths"]["/v1/rooms/{room}/messages"]["post"];
    assert_eq!((&one["operationId"], &one["tags"][0]), (&json!("RoomsSend"), &json!("rooms")));
    let body = &document["components"]["schemas"]["RoomSendBody"]["properties"];
    assert!(body.get("rooms").is_none() && body["messageId"]["maxLength"] == 200, "{body}");
    assert_eq!(one["parameters"][0]["schema"]["maxLength"], 256);
    let summary = document["paths"]["/v1/broadcast"]["post"]["summary"].as_str().unwrap();
    assert_eq!(summary, "Sends a message to every accepted connection.");
}

#[test]
fn schemas_say_what_the_contract_says() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Correlation"]["maxProperties"], 1);
    assert_eq!(schemas["ConnectRequest"]["properties"]["tags"]["maxProperties"], 50);
    assert_eq!(schemas["ConnectRequest"]["properties"]["openMessages"]["type"], "array");
    assert_eq!(schemas["ConnectRequest"]["additionalProperties"], false);
    assert_eq!(schemas["SendBody"]["properties"]["data"]["format"], "byte");
    assert!(schemas["SendBody"]["properties"].get("id").is_none());
    assert!(schemas["SendRequest"]["properties"].get("id").is_some());
    assert_eq!(schemas["WebSocketConnection"]["properties"]["createdAt"]["format"], "date-time");
    assert_eq!(schemas["UpdateBody"]["properties"]["updateMask"]["type"], "string");
    let status = &schemas["WebSocketConnection"]["properties"]["status"]["anyOf"][0]["enum"];
    assert_eq!(status[2], "CONNECTED");
    let about = document["paths"]["/v1/connections/{id}/send"]["post"]["summary"].as_str().unwrap();
    assert_eq!(about, "Sends a message and waits for its correlated reply.");
}
