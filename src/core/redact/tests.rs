use super::*;
use crate::core::random::Rng;

#[test]
fn secrets_print_as_stars() {
    let secret = Secret::new("canary".to_owned());
    assert_eq!(format!("{secret} {secret:?} {secret:#?} {:>9}", secret.clone()), "*** *** *** ***");
    assert!(!format!("{:?}", Some(vec![secret.clone()])).contains("canary"));
    assert_eq!(secret.expose(), "canary");
    assert_eq!(secret.into_exposed(), "canary");
}

#[test]
fn log_text_is_one_harmless_line() {
    assert!(matches!(escape_log("plain ünïcode 文字"), Cow::Borrowed(_)));
    assert_eq!(escape_log("a\r\nb\tc"), "a\\r\\nb\\tc");
    assert_eq!(escape_log("\u{1b}[2Jx\u{7f}\0\u{9b}"), "\\u{1b}[2Jx\\u{7f}\\u{0}\\u{9b}");
    assert_eq!(escape_log("a\u{202e}b\u{2028}c\u{feff}"), "a\\u{202e}b\\u{2028}c\\u{feff}");
    assert_eq!(escape_log("a\\nb"), "a\\\\nb");
    assert_eq!(escape_bounded("ääääää", 4), "ääää...(+4 bytes)");
    assert_eq!(escape_bounded("abcd", 4), "abcd");
    let long = "\n".repeat(1_000_000);
    assert!(escape_log(&long).len() < LOG_TEXT_CHARS_MAX * 10 + 40);
}

#[test]
fn text_loses_its_secrets_and_nothing_else() {
    for (text, expected) in [
        ("nothing to hide: a=1 b", "nothing to hide: a=1 b"),
        ("dial wss://u:p@h:1/x?a=1 failed", "dial wss://***@h:1/x?a=1 failed"),
        ("GET /ws?token=abc&x=1 HTTP/1.1", "GET /ws?token=***&x=1 HTTP/1.1"),
        ("'wss://h/?key=abc' is bad", "'wss://h/?key=*** is bad"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: basic  QWxh\nnext", "authorization: basic  ***\nnext"),
        ("wss://u@h,wss://v@i", "wss://***@h,wss://***@i"),
        ("redis://:pw@h/0 refused", "redis://***@h/0 refused"),
        ("got eyJhbGciOiJIUzI1NiJ9.e30.abc!", "got ***!"),
        ("password=x;y/z rest", "password=*** rest"),
        ("wss://h/btc@trade", "wss://h/btc@trade"),
        ("", ""),
    ] {
        let once = redact_text(text).into_owned();
        assert_eq!(once, expected);
        assert_eq!(redact_text(&once), expected, "twice is once");
    }
    assert!(matches!(redact_text("plain"), Cow::Borrowed(_)));
}

#[test]
fn canaries_stay_hidden_in_generated_text() {
    let canary = "c4naryvalue";
    let around = [
        "",
        " ",
        "\n",
        "(",
        "\"",
        "x=1&",
        "wss://h/?",
        "https://h/a;b=",
        "é",
        "%",
        "=",
        "://",
        "@",
        "?",
        ",",
    ];
    let mut random = Rng(1);
    for _ in 0..20_000 {
        let mut noise = || -> String { (0..random.index(4)).map(|_| *random.pick(&around)).collect() };
        let (before, after) = (noise(), noise());
        let text = format!("{before} wss://u:{canary}@h/?a=1&apiKey={canary}&b {after}");
        let shown = redact_text(&text);
        assert!(!shown.contains(canary), "{text:?} -> {shown:?}");
    }
}

#[test]
fn hostile_lengths_take_linear_work() {
    for piece in ["=", "eyJ", "://", "%25", "a=%41", "@", "&", "key", "; ", "eyJ.", "=eyJ", "/eyJ"] {
        let text = piece.repeat(200_000 / piece.len());
        assert!(redact_text(&text).len() <= text.len() * 4);
    }
}

#[test]
fn keys() {
    for key in ["token", "myToken", "API-KEY", "sig", "my_sig", "mySig", "SIG", "%73ig", "pw", "X-Auth"] {
        assert!(is_secret_key(key), "{key}");
    }
    for key in
        ["", "room", "design", "signal", "passage", "pinned", "encoding", "sidecar", "id", "=", "%", "%zz"]
    {
        assert!(!is_secret_key(key), "{key}");
    }
}
