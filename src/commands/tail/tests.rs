use super::*;

fn follower() -> Follower {
    let config = Config::with_defaults(1);
    let target = Target::parse("http://127.0.0.1:1/", &config).expect("a target");
    let source = TailSource::Id("a".into());
    Follower::new(target, &Tail { url: None, source, from_start: true, cursor: None, json: false })
}

#[test]
fn going_on_begins_after_the_last_message_that_was_printed() {
    let mut follower = follower();
    follower.passed(String::new());
    assert!(follower.request.from_start, "nothing was passed that has a place");
    follower.passed("c1".into());
    assert_eq!((follower.request.from_start, follower.request.cursor.as_str()), (false, "c1"));
}

#[test]
fn refusals_name_the_way_out() {
    let follower = follower();
    let said = |status: Status| match follower.judge(&status) {
        End::Refused(why) => format!("refused: {why}"),
        End::Absent(why) => format!("absent: {why}"),
        End::Lost(why) => format!("lost: {why}"),
        End::Unread => String::new(),
    };
    let cursor = said(Status::invalid_argument("cursor: is of another source"));
    assert!(cursor.starts_with("refused: cursor: is") && cursor.contains("--from-start"), "{cursor}");
    let absent = said(Status::not_found("no such connection"));
    assert!(absent.starts_with("absent: there is no connection a at http://127.0.0.1:1;"), "{absent}");
    assert!(said(Status::unimplemented("x")).contains("--url"));
    for passing in
        [Status::unavailable("x"), Status::internal("x"), Status::unknown("x"), Status::cancelled("x")]
    {
        assert!(said(passing).starts_with("lost: "));
    }
}

#[tokio::test]
async fn a_service_that_never_was_there_is_an_error() {
    let why = follower().follow().await.expect_err("nobody listens").to_string();
    assert!(why.contains("http://127.0.0.1:1: ") && why.contains("'websocket-manager serve'"), "{why}");
}

#[test]
fn tags_are_all_asked_for() {
    let tags = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())];
    let (source, what) = source(&TailSource::Tags(tags));
    let Source::Filter(filter) = source else { panic!("a filter was expected") };
    assert_eq!((filter.filters.len(), what.as_str()), (2, "connections with a=1, b="));
}
