use super::*;

fn update(body: &str) -> Result<UpdateRequest, Fault> {
    decode_update(body.as_bytes(), true)
}

fn paths(request: &UpdateRequest) -> Vec<&str> {
    request.update_mask.iter().flat_map(|mask| mask.paths.iter().map(String::as_str)).collect()
}

fn input(path: &[(&str, &str)], query: &str) -> Input {
    let list = ROUTES.iter().find(|route| route.rpc.name() == "List").unwrap();
    let follow = ROUTES.iter().find(|route| route.path == "/v1/messages").unwrap();
    let known: Vec<_> = known(list).into_iter().chain(known(follow)).collect();
    Input {
        path: path.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        query: Query::parse(Some(query), &known).unwrap(),
        body: Bytes::new(),
        last_event: None,
    }
}

#[test]
fn masks_are_strings_in_either_spelling_or_follow_the_settings() {
    let given =
        update(r#"{"updateMask":"autoReconnect, idle.pong_ms","settings":{"autoReconnect":true}}"#).unwrap();
    assert_eq!(paths(&given), ["auto_reconnect", "idle.pong_ms"]);
    let implied = update(r#"{"settings":{"openMessages":[],"reconnect":{"baseMs":5},"url":null}}"#).unwrap();
    assert_eq!(paths(&implied), ["open_messages", "reconnect"]);
    assert_eq!(implied.settings.unwrap().reconnect.unwrap().base_ms, 5);
    assert!(update("{}").unwrap().update_mask.is_none());
    let kept = decode_update(br#"{"settings":{"autoReconnect":true}}"#, false).unwrap();
    assert!(kept.update_mask.is_none());
    assert_eq!(update(r#"{"updateMask":{"paths":[]}}"#).unwrap_err().field, "updateMask");
    assert_eq!(update(r#"{"settings":{"bogus":1}}"#).unwrap_err().field, "settings.bogus");
}

#[test]
fn the_path_names_the_connection() {
    let input = input(&[("id", "a")], "");
    for given in ["", "a"] {
        let mut slot = given.to_owned();
        input.name("id", &mut slot).unwrap();
        assert_eq!(slot, "a");
    }
    let fault = input.name("id", &mut "b".to_owned()).unwrap_err();
    assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, "id"));
}

#[test]
fn a_list_from_its_query() {
    let mut message = ListRequest::default();
    let query = "tag.venue=x&tag.room%2F1=&status=connected&status=ERROR&status=5&direction=out&pageSize=3&pageToken=t&instance=i";
    fill_list(&mut message, &input(&[], query).query).unwrap();
    assert_eq!(message.filters.len(), 2);
    assert_eq!((message.filters[1].key.as_str(), message.filters[1].value.as_str()), ("room/1", ""));
    assert_eq!(message.status, [2, 4, 5]);
    assert_eq!((message.direction, message.page_size), (1, 3));
    assert_eq!((message.instance.as_str(), message.page_token.as_str()), ("i", "t"));
    for query in ["status=nope", "direction=sideways", "pageSize=-", "instance=a&instance=b"] {
        let fault = fill_list(&mut ListRequest::default(), &input(&[], query).query).unwrap_err();
        assert!(query.starts_with(fault.field.replace("page_size", "pageSize").as_str()), "{query}");
    }
}

#[test]
fn a_follower_gives_a_topic_or_tags() {
    let source = |query| source_of(&input(&[], query).query);
    assert_eq!(source("topic=t").unwrap(), receive_request::Source::Topic("t".into()));
    assert!(matches!(source("tag.a=b").unwrap(), receive_request::Source::Filter(_)));
    for query in ["", "topic=t&tag.a=b", "topic=a&topic=b"] {
        assert_eq!(source(query).unwrap_err().field, "topic", "{query}");
    }
}
