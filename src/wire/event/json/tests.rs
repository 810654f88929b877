use super::*;

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    push_escaped(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap()
}

#[test]
fn writes_what_serde_json_writes() {
    let every_control: String = (0_u8..0x80).map(char::from).collect();
    let awkward = "plain, \"quoted\", back\\slash, tab\t, \u{7f}, \u{e9}\u{1f600}\u{2028}, end";
    for text in ["", "a", "\"", "\\\\", &every_control, awkward] {
        assert_eq!(format!("\"{}\"", escaped(text)), serde_json::to_string(text).unwrap());
    }
}

#[test]
fn finds_the_escape_at_every_place_of_every_length() {
    for length in 0..70 {
        for at in 0..length {
            for special in ['"', '\\', '\n', '\u{1}', '\u{1f}'] {
                let text: String = (0..length).map(|place| if place == at { special } else { ' ' }).collect();
                assert_eq!(format!("\"{}\"", escaped(&text)), serde_json::to_string(&text).unwrap());
            }
        }
    }
}

#[test]
fn base64_has_its_padding_and_appends() {
    let mut out = b"x".to_vec();
    for (bytes, text) in
        [(&b""[..], ""), (b"a", "YQ=="), (b"ab", "YWI="), (b"abc", "YWJj"), (b"\xff\xfe", "//4=")]
    {
        out.truncate(1);
        push_base64(&mut out, bytes);
        assert_eq!(&out[1..], text.as_bytes());
    }
}
