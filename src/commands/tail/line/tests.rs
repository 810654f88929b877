use super::*;
use crate::proto::End;
use crate::wkt::Timestamp;

fn message(body: Body) -> ReceivedMessage {
    ReceivedMessage {
        id: "a".into(),
        epoch: 7,
        seq: 42,
        timestamp: Some(Timestamp { seconds: 3661, nanos: 5_000_000 }),
        body: Some(body),
        ..Default::default()
    }
}

fn plain(body: Body) -> String {
    line(&message(body), Style::default())
}

#[test]
fn a_line_has_time_connection_numbers_and_text() {
    assert_eq!(plain(Body::Text("{\"x\": 1}".into())), "01:01:01.005Z a 7/42 {\"x\": 1}");
    assert_eq!(plain(Body::Data(vec![0, 255].into())), "01:01:01.005Z a 7/42 (2 bytes) 00 ff");
    let reply = ReceivedMessage { reply: true, timestamp: None, ..message(Body::Text("x".into())) };
    assert_eq!(line(&reply, Style::default()), "--:--:--.---Z a 7/42 (reply) x");
    let long = plain(Body::Data(vec![1; 1000].into()));
    assert!(long.ends_with(" 01 …") && long.len() < 300, "{long}");
}

#[test]
fn gaps_and_ends_stand_out() {
    let gap = Gap {
        from_epoch: 7,
        from_seq: Some(42),
        to_epoch: 8,
        to_seq: 1,
        cause: "restart".into(),
        count: Some(3),
    };
    assert!(
        plain(Body::Gap(gap.clone())).ends_with("=== gap: restart, 3 lost; after 7/42, goes on with 8/1 ===")
    );
    let open = Gap { from_seq: None, to_epoch: 0, count: None, ..gap };
    assert!(
        plain(Body::Gap(open.clone()))
            .ends_with("=== gap: restart; after the last one here, nothing follows ===")
    );
    assert!(plain(Body::End(End { epoch: 7, last_seq: 42 })).ends_with("=== end: epoch 7 ended with 42 ==="));
    let unnamed = ReceivedMessage { body: Some(Body::Gap(open)), ..Default::default() };
    assert!(line(&unnamed, Style::default()).starts_with("--:--:--.---Z === gap"), "no connection to name");
}

#[test]
fn no_text_can_steer_the_terminal() {
    let shown = plain(Body::Text("a\x1b[2J\n\r\t\u{9b}31m\u{202e}\u{7f}\0é漢".into()));
    assert!(shown.ends_with(r"a\u{1b}[2J\n\r\t\u{9b}31m\u{202e}\u{7f}\u{0}é漢"), "{shown}");
    for code in 0..0x11_0000 {
        let Some(c) = char::from_u32(code) else { continue };
        assert!(!escaped(&c.to_string()).chars().any(char::is_control), "{code:x}");
    }
}

#[test]
fn a_line_never_is_wider_than_the_terminal() {
    let texts = ["plain text that is long enough to be cut", "漢字かな交じり文", "a漢b字c", ""];
    for text in texts {
        let whole: usize = text.chars().map(columns).sum();
        for width in 0..60 {
            let cut = cut(text, width);
            assert!(cut.chars().map(columns).sum::<usize>() <= width, "{cut} in {width}");
            assert_eq!(cut == text, whole <= width, "{cut} in {width}");
            assert!(whole <= width || width == 0 || cut.ends_with('…'));
        }
    }
}

#[test]
fn colours_add_nothing_but_themselves() {
    for width in [None, Some(3), Some(22), Some(500)] {
        for body in [Body::Text("some text".into()), Body::End(End::default())] {
            let style = Style { width, colour: true };
            let coloured = line(&message(body.clone()), style);
            let bare =
                [DIM, YELLOW, PLAIN].iter().fold(coloured.clone(), |text, code| text.replace(code, ""));
            assert_eq!(bare, line(&message(body), Style { colour: false, ..style }));
            assert!(coloured.contains(PLAIN));
        }
    }
}
