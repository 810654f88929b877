//! From the core's values to the contract's messages.

use crate::{
    core::{
        correlation::Kind,
        io::Followed,
        ring::RecordKind,
        rooms::{Message, RoomName},
        sequence,
        spec::{Direction, Info, Status},
        watch,
    },
    proto::{self, ConnectionStatus, WebSocketConnection, received_message::Body},
    wire::event::{self, Body as EventBody},
    wkt::Timestamp,
};

pub fn status(status: Status) -> ConnectionStatus {
    match status {
        Status::Connecting => ConnectionStatus::Connecting,
        Status::Connected => ConnectionStatus::Connected,
        Status::Disconnected => ConnectionStatus::Disconnected,
        Status::Error => ConnectionStatus::Error,
        Status::Reconnecting => ConnectionStatus::Reconnecting,
    }
}

pub fn connection(info: Info, instance: &str, shard: u32) -> WebSocketConnection {
    WebSocketConnection {
        id: info.id.to_string(),
        url: info.url,
        status: status(info.status).into(),
        topic: info.topic.map(|topic| topic.to_string()).unwrap_or_default(),
        instance_id: instance.to_owned(),
        content_type: info.content_type.to_owned(),
        tags: info.tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        created_at: Some(Timestamp::from(info.created)),
        auto_reconnect: info.auto_reconnect,
        direction: match info.direction {
            Direction::Out => proto::Direction::Out,
            Direction::In => proto::Direction::In,
        }
        .into(),
        shard,
        rooms: info.rooms.iter().map(ToString::to_string).collect(),
        user: info.user.map(|user| user.to_string()).unwrap_or_default(),
        last_error: info.last_error,
        epoch: info.epoch,
        seq: info.seq,
        counters: Some(proto::ConnectionCounters {
            messages_in: info.counters.messages_in,
            bytes_in: info.counters.bytes_in,
            messages_out: info.counters.messages_out,
            bytes_out: info.counters.bytes_out,
            reconnects: info.counters.reconnects.into(),
            dropped: info.counters.dropped.into(),
        }),
        subprotocol: info.subprotocol.map(|name| name.to_string()).unwrap_or_default(),
        connected_at: info.connected.map(Timestamp::from),
        reconnect_attempt: info.attempt,
        sends_in_flight: info.sends_in_flight,
    }
}

/// A connection as its document tells of it, while its owner cannot be asked. None for what is no
/// document of a connection.
pub fn recorded(document: &[u8]) -> Option<WebSocketConnection> {
    let value: serde_json::Value = serde_json::from_slice(document).ok()?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let again = value["autoReconnect"].as_bool().unwrap_or(false);
    let tags = value["tags"].as_object().into_iter().flatten();
    Some(WebSocketConnection {
        id: value["id"].as_str()?.to_owned(),
        url: text("url"),
        // It will be dialled again by whoever takes it, or is gone.
        status: if again { ConnectionStatus::Reconnecting } else { ConnectionStatus::Disconnected }.into(),
        topic: text("topic"),
        instance_id: text("instanceId"),
        tags: tags.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        created_at: value["createdAt"].as_str().and_then(event::parse_rfc3339).map(Timestamp::from),
        auto_reconnect: again,
        direction: proto::Direction::Out.into(),
        epoch: value["epoch"].as_u64().unwrap_or(0),
        ..WebSocketConnection::default()
    })
}

pub fn gap(gap: &sequence::Gap) -> proto::Gap {
    let (to_epoch, to_seq) = gap.to.unwrap_or((0, 0));
    proto::Gap {
        from_epoch: gap.from.0,
        from_seq: gap.from.1,
        to_epoch,
        to_seq,
        cause: gap.cause.name().to_owned(),
        count: gap.count,
    }
}

/// A record of the ring; without its cursor, which is the follower's own. None for what is not for
/// followers of messages.
pub fn followed(record: &Followed) -> Option<proto::ReceivedMessage> {
    let mut message = proto::ReceivedMessage {
        id: record.id.to_string(),
        epoch: record.epoch,
        seq: record.seq,
        timestamp: Some(Timestamp::from(record.wall)),
        reply: record.reply,
        possible_duplicate: record.possible_duplicate,
        ..Default::default()
    };
    message.body = Some(match record.kind {
        RecordKind::Text => {
            message.content_type = event::CONTENT_TEXT.to_owned();
            // It was checked when it was read from the socket.
            Body::Text(String::from_utf8_lossy(&record.payload).into_owned())
        }
        RecordKind::Binary => {
            message.content_type = event::CONTENT_BINARY.to_owned();
            Body::Data(record.payload.clone())
        }
        RecordKind::Gap => Body::Gap(gap(&sequence::Gap::decode(&record.payload)?)),
        RecordKind::End => {
            let end = sequence::End::decode(&record.payload)?;
            Body::End(proto::End { epoch: end.epoch, last_seq: end.last_seq })
        }
        RecordKind::Lifecycle => return None,
    });
    Some(message)
}

/// A message read back from an event of a topic.
pub fn parsed(message: event::ParsedMessage, topic: &str, offset: u64) -> proto::ReceivedMessage {
    let mut received = proto::ReceivedMessage {
        id: message.id,
        epoch: message.epoch,
        seq: message.seq,
        timestamp: message.timestamp.map(Timestamp::from),
        content_type: message.content_type,
        reply: message.reply,
        possible_duplicate: message.possible_duplicate,
        topic: topic.to_owned(),
        offset,
        ..Default::default()
    };
    received.body = Some(match message.body {
        EventBody::Text(text) => Body::Text(text),
        EventBody::Binary(data) => Body::Data(data.into()),
        EventBody::Gap(found) => Body::Gap(gap(&found)),
        EventBody::End { epoch, last_seq } => Body::End(proto::End { epoch, last_seq }),
        EventBody::Foreign(event) => Body::Text(String::from_utf8_lossy(&event).into_owned()),
    });
    received
}

/// One message of a room's history. None for one that was not sent to it.
pub fn room_message(message: &Message, room: &RoomName) -> Option<proto::RoomMessage> {
    let at = message.at(room)?;
    let mut found = proto::RoomMessage {
        epoch: at.epoch,
        offset: at.offset,
        timestamp: Some(Timestamp::from(message.wall)),
        ..Default::default()
    };
    match room_body(message) {
        (content_type, Body::Data(data)) => (found.content_type, found.data) = (content_type, data),
        (content_type, Body::Text(text)) => (found.content_type, found.text) = (content_type, text),
        _ => return None,
    }
    Some(found)
}

/// A message of a room for a follower; without its cursor.
pub fn room_received(message: &Message, room: &RoomName) -> Option<proto::ReceivedMessage> {
    let at = message.at(room)?;
    let (content_type, body) = room_body(message);
    Some(proto::ReceivedMessage {
        room: room.to_string(),
        epoch: at.epoch,
        offset: at.offset,
        timestamp: Some(Timestamp::from(message.wall)),
        content_type,
        body: Some(body),
        ..Default::default()
    })
}

fn room_body(message: &Message) -> (String, Body) {
    match message.kind {
        // It was checked when it came in.
        Kind::Text => {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            (event::CONTENT_TEXT.to_owned(), Body::Text(text))
        }
        Kind::Binary => (event::CONTENT_BINARY.to_owned(), Body::Data(message.payload.clone())),
    }
}

pub fn lifecycle(event: &watch::LifecycleEvent, cursor: String) -> proto::LifecycleEvent {
    proto::LifecycleEvent {
        r#type: format!("{}{}", event::TYPE_LIFECYCLE, event.state.name()),
        connection_id: event.connection.to_string(),
        url: event.url.clone(),
        instance_id: event.instance.to_string(),
        reason: event.reason.to_string(),
        attempt: event.attempt.unwrap_or(0),
        timestamp: Some(Timestamp::from(event.wall)),
        cursor,
    }
}
