use super::*;

fn rooms(query: &str) -> Vec<String> {
    Asked::parse(query).unwrap().rooms.iter().map(|room| room.to_string()).collect()
}

#[track_caller]
fn refused(query: &str) -> String {
    Asked::parse(query).unwrap_err().to_string()
}

#[test]
fn rooms_are_decoded_strictly() {
    assert_eq!(rooms("room=a&room=b%20c&x=%zz&room=d+e&room=%C3%A4%2Fb"), ["a", "b c", "d e", "ä/b"]);
    assert!(rooms("").is_empty() && rooms("&&rooms=a&ROOM=b").is_empty());
    for (query, told) in [
        ("room=", "room: a room name has 1 to 256 bytes"),
        ("room", "room: a room name has 1 to 256 bytes"),
        ("room=a%2Cb", "room: a room name must not hold control characters or commas"),
        ("room=a%0a", "room: a room name must not hold"),
        ("room=%", "room: is not percent-encoded UTF-8"),
        ("room=%4", "room: is not percent-encoded UTF-8"),
        ("room=%g0", "room: is not percent-encoded UTF-8"),
        ("room=%ff", "room: is not percent-encoded UTF-8"),
        ("room=%ed%a0%80", "room: is not percent-encoded UTF-8"),
        ("room=a&room=b&room=%61", "room: is given twice"),
    ] {
        assert!(refused(query).starts_with(told), "{query}: {}", refused(query));
    }
    let many: Vec<_> = (0..=limits::ROOMS_PER_CONNECTION_MAX).map(|n| format!("room={n}")).collect();
    assert!(refused(&many.join("&")).contains("at most 64 rooms"));
    assert!(refused(&"a&".repeat(limits::QUERY_PAIRS_MAX + 1)).starts_with("query: "));
}

#[test]
fn places_belong_to_all_rooms_or_to_one_each() {
    let after = |query: &str, rooms| Asked::parse(query).unwrap().after(rooms, 0);
    let at = |epoch, offset| Some(Position { epoch, offset });
    assert_eq!(after("", 2), Ok(vec![None, None]));
    assert_eq!(after("epoch=7&offset=0", 2), Ok(vec![at(7, 0), at(7, 0)]));
    assert_eq!(after("epoch=7&offset=1&epoch=8&offset=2", 2), Ok(vec![at(7, 1), at(8, 2)]));
    assert!(after("epoch=7&offset=1&epoch=8&offset=2", 3).unwrap_err().to_string().contains("3 rooms"));
    let beside = Asked::parse("epoch=7&offset=1&epoch=8&offset=2").unwrap();
    assert_eq!(beside.after(2, 1), Ok(vec![at(7, 1), at(8, 2), None]));
    for (query, told) in [
        ("epoch=7", "offset: epoch and offset go together"),
        ("offset=7", "epoch: epoch and offset go together"),
        ("epoch=x&offset=1", "epoch: must be a whole number"),
        ("epoch=1&offset=-1", "offset: must be a whole number"),
        ("epoch=1&offset=%31", "offset: must be a whole number"),
        ("epoch=1&offset=", "offset: must be a whole number"),
        ("epoch=1&offset=99999999999999999999", "offset: must be a whole number"),
    ] {
        assert!(refused(query).starts_with(told), "{query}: {}", refused(query));
    }
}

#[test]
fn tokens_are_found_and_taken_out() {
    assert_eq!(token("a=b&access_token=x%2By&c"), Ok(Some("x+y".into())));
    assert_eq!(token("access_tokens=x"), Ok(None));
    assert!(token("access_token=x&access_token=x").is_err() && token("access_token=%ff").is_err());
    assert_eq!(shown("room=a&epoch=1&access_token=x&offset=2&apiKey=s&x=%C3"), "room=a&apiKey=***&x=%C3");
    assert_eq!(shown("epoch=1&offset=2"), "");
}
