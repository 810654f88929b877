use super::*;

fn fill(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let template = Template::parse(template).expect("a template");
    let value = |name: &str| values.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into());
    template.fill(value).map_err(str::to_owned)
}

#[test]
fn places_are_filled_in_their_order_and_a_missing_value_is_named() {
    assert_eq!(fill("lobby", &[]), Ok("lobby".into()));
    assert_eq!(fill("{a}", &[("a", "x")]), Ok("x".into()));
    assert_eq!(fill("user-{id}/{id}-{b}!", &[("id", "7"), ("b", "{id}")]), Ok("user-7/7-{id}!".into()));
    assert_eq!(fill("user-{/user_id}", &[("/user_id", "é")]), Ok("user-é".into()));
    assert_eq!(fill("{a}{b}", &[("a", "x")]), Err("b".into()));
}

#[test]
fn braces_that_do_not_pair_are_refused() {
    for (text, why) in [
        ("", "is empty"),
        ("a{b", "has a '{' without its '}'"),
        ("a}b", "has a '}' without its '{'"),
        ("{}", "has braces with no name between them"),
        ("{a{b}", "has braces with no name between them"),
    ] {
        assert_eq!(Template::parse(text).unwrap_err(), why, "{text}");
    }
}

fn matched(path: &str, request: &str) -> Option<Vec<(String, String)>> {
    let path = Path::parse(path).expect("a path");
    let values = path.matches(request)?;
    Some(values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn a_path_matches_whole_segments_and_gives_their_values() {
    let pairs = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>())
    };
    assert_eq!(matched("/chat/{room}/message", "/chat/a%2Fb/message"), pairs(&[("room", "a%2Fb")]));
    assert_eq!(matched("/a/{x}/{y_1}", "/a/1/2"), pairs(&[("x", "1"), ("y_1", "2")]));
    assert_eq!(matched("/fixed", "/fixed"), pairs(&[]));
    for (path, request) in [
        ("/chat/{room}", "/chat/"),
        ("/chat/{room}", "/chat"),
        ("/chat/{room}", "/chat/a/"),
        ("/chat/{room}", "/chat/a/b"),
        ("/chat/{room}", "/Chat/a"),
        ("/chat/{room}", "chat/a"),
        ("/fixed", "/"),
        ("/fixed", ""),
    ] {
        assert_eq!(matched(path, request), None, "{path} {request}");
    }
}

#[test]
fn a_bad_path_says_what_is_wrong() {
    for (text, why) in [
        ("chat", "must begin with '/'"),
        ("/", "has a segment that is not made of"),
        ("/a//b", "has a segment that is not made of"),
        ("/a/../b", "has a segment that is not made of"),
        ("/a/b?c", "has a segment that is not made of"),
        ("/a/x{b}", "has a segment that is not made of"),
        ("/a/{b}c", "has a variable that is no whole segment"),
        ("/a/{}", "has a variable whose name"),
        ("/a/{B}", "has a variable whose name"),
        ("/a/{*rest}", "has a variable whose name"),
        ("/a/{b}/{b}", "names the variable {b} twice"),
    ] {
        let told = Path::parse(text).unwrap_err();
        assert!(told.starts_with(why), "{text}: {told}");
    }
    assert!(Path::parse(&"/a".repeat(SEGMENTS_MAX)).is_ok());
    assert!(Path::parse(&"/a".repeat(SEGMENTS_MAX + 1)).is_err());
}

#[test]
fn shapes_are_compared_without_the_variables_names() {
    let shaped = |one: &str, two: &str| Path::parse(one).unwrap().is_shaped_as(&Path::parse(two).unwrap());
    assert!(shaped("/a/{b}/c", "/a/{x}/c"));
    assert!(!shaped("/a/{b}/c", "/a/b/c"));
    assert!(!shaped("/a/{b}", "/a/{b}/c"));
    assert!(!shaped("/a", "/b"));
}
