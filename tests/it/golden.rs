//! The public contract in one text: every message, field number, type and method. What clients in
//! the field rely on cannot be removed or renumbered; what is added has to be recorded.

use crate::harness::repo;
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor,
};
use std::{collections::BTreeSet, fs};
use websocket_manager::proto::DESCRIPTOR;

const FILE: &str = "tests/it/golden/contract.txt";
const RECORD: &str = "WSM_RECORD";
const COMMAND: &str = "WSM_RECORD=1 cargo test --test it golden";

fn contract() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor decodes");
    let mut lines = BTreeSet::new();
    for file in pool.files().filter(|file| file.package_name().starts_with("virtufin")) {
        file.messages().for_each(|message| add_message(&message, &mut lines));
        file.enums().for_each(|set| add_enum(&set, &mut lines));
        file.services().for_each(|service| add_service(&service, &mut lines));
        let options = file.file_descriptor_proto().options.as_ref();
        let namespace = options.and_then(|options| options.csharp_namespace.clone()).unwrap_or_default();
        lines.insert(format!("file {} package {} csharp {namespace}", file.name(), file.package_name()));
    }
    lines
}

fn add_message(message: &MessageDescriptor, lines: &mut BTreeSet<String>) {
    lines.insert(format!("message {}", message.full_name()));
    for field in message.fields() {
        let (name, number) = (field.name(), field.number());
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let oneof = oneof.map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
        lines.insert(format!("field {}.{name} = {number} {}{oneof}", message.full_name(), kind(&field)));
    }
    message
        .child_messages()
        .filter(|child| !child.is_map_entry())
        .for_each(|child| add_message(&child, lines));
    message.child_enums().for_each(|set| add_enum(&set, lines));
}

fn kind(field: &FieldDescriptor) -> String {
    let kind = format!("{:?}", field.kind());
    if field.is_map() {
        let entry = field.kind();
        let entry = entry.as_message().expect("a map is a list of entries");
        return format!(
            "map<{:?}, {:?}>",
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind()
        );
    }
    match field.cardinality() {
        Cardinality::Repeated => format!("repeated {kind}"),
        _ if field.field_descriptor_proto().proto3_optional() => format!("optional {kind}"),
        _ => kind,
    }
}

fn add_enum(set: &EnumDescriptor, lines: &mut BTreeSet<String>) {
    for value in set.values() {
        lines.insert(format!("enum {}.{} = {}", set.full_name(), value.name(), value.number()));
    }
}

fn add_service(service: &ServiceDescriptor, lines: &mut BTreeSet<String>) {
    let stream = |yes: bool| if yes { "stream " } else { "" };
    for method in service.methods() {
        let (takes, gives) = (stream(method.is_client_streaming()), stream(method.is_server_streaming()));
        lines.insert(format!(
            "rpc {}({takes}{}) returns ({gives}{})",
            method.full_name(),
            method.input().full_name(),
            method.output().full_name()
        ));
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    Broken(Vec<String>),
    Grown(Vec<String>),
}

fn compare(recorded: &BTreeSet<String>, now: &BTreeSet<String>) -> Verdict {
    let missing: Vec<_> = recorded.difference(now).cloned().collect();
    if !missing.is_empty() {
        return Verdict::Broken(missing);
    }
    match now.difference(recorded).cloned().collect::<Vec<_>>() {
        added if added.is_empty() => Verdict::Same,
        added => Verdict::Grown(added),
    }
}

#[test]
fn the_contract_only_grows_and_its_growth_is_recorded() {
    let path = repo::root().join(FILE);
    let now = contract();
    let recorded: BTreeSet<_> =
        fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    match compare(&recorded, &now) {
        Verdict::Same => {}
        Verdict::Broken(missing) => {
            panic!("clients in the field rely on what is gone or changed:\n{}", missing.join("\n"))
        }
        Verdict::Grown(_) if std::env::var_os(RECORD).is_some() => {
            let text: String = now.iter().map(|line| format!("{line}\n")).collect();
            fs::write(&path, text).expect("the contract is written");
        }
        Verdict::Grown(added) => {
            panic!("not yet recorded (run: {COMMAND}):\n{}", added.join("\n"))
        }
    }
}

#[test]
fn a_renumbered_field_breaks_and_a_new_one_grows() {
    let set = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let old = set(&["field a.b = 1 string"]);
    assert_eq!(compare(&old, &old), Verdict::Same);
    let renumbered = compare(&old, &set(&["field a.b = 2 string"]));
    assert_eq!(renumbered, Verdict::Broken(vec!["field a.b = 1 string".into()]));
    let grown = compare(&old, &set(&["field a.b = 1 string", "field a.c = 2 string"]));
    assert_eq!(grown, Verdict::Grown(vec!["field a.c = 2 string".into()]));
}

/// The numbers that the contract fixes, by hand: a slip in the first recording would stay for ever.
#[test]
fn the_numbers_of_the_first_clients_hold() {
    let now = contract();
    let fixed = [
        "field virtufin.ConnectRequest.url = 1 string",
        "field virtufin.ConnectRequest.auto_reconnect = 2 bool",
        "field virtufin.ConnectRequest.tags = 3 map<string, string>",
        "field virtufin.ConnectResponse.connection_id = 3 string",
        "field virtufin.WebSocketConnection.topic = 4 string",
        "field virtufin.WebSocketConnection.instance_id = 5 string",
        "field virtufin.WebSocketConnection.auto_reconnect = 9 bool",
        "field virtufin.SendRequest.message = 2 string",
        "field virtufin.SendRequest.timeout_ms = 3 int32",
        "field virtufin.SendRequest.content_type = 4 string",
        "field virtufin.SendResponse.response = 1 string",
        "field virtufin.StartPublishRequest.topic = 2 string",
        "field virtufin.RoomSendRequest.message_id = 4 string",
        "field virtufin.RoomPosition.offset = 3 uint64",
        "field virtufin.BroadcastRequest.message = 2 string",
        "field virtufin.SendToUserRequest.user = 1 string",
        "field virtufin.JoinRequest.id = 2 string",
        "field virtufin.ListRoomsRequest.prefix = 3 string",
        "field virtufin.RoomSummary.members = 2 uint64",
        "field virtufin.ListMembersRequest.page_token = 3 string",
        "field virtufin.HistoryRequest.limit = 4 int32",
        "field virtufin.RoomMessage.data = 5 bytes",
        "field virtufin.KickUserResponse.disconnected = 1 uint64",
        "enum virtufin.ConnectionStatus.UNKNOWN = 0",
        "enum virtufin.ConnectionStatus.RECONNECTING = 5",
        "rpc virtufin.WebSocketManager.SendRaw(virtufin.SendRawRequest) returns (virtufin.SendRawResponse)",
        "rpc virtufin.Rooms.Send(virtufin.RoomSendRequest) returns (virtufin.RoomSendResponse)",
        "rpc virtufin.WebSocketManager.SendStream(stream virtufin.SendRequest) returns (stream virtufin.SendResult)",
    ];
    let missing: Vec<_> = fixed.iter().filter(|line| !now.contains(**line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
