use super::*;

fn text(nanos: u64) -> String {
    String::from_utf8(TimeText::at(Wall::from_unix_nanos(nanos)).as_bytes().to_vec()).unwrap()
}

#[test]
fn known_times() {
    assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(text(951_782_400_000_000_000), "2000-02-29T00:00:00.000000Z");
    assert_eq!(text(951_868_799_999_999_999), "2000-02-29T23:59:59.999999Z");
    assert_eq!(text(1_704_164_645_678_901_234), "2024-01-02T03:04:05.678901Z");
    assert_eq!(text(4_107_542_399_000_001_000), "2100-02-28T23:59:59.000001Z");
    assert_eq!(text(4_107_542_400_000_000_000), "2100-03-01T00:00:00.000000Z");
}

#[test]
fn the_cache_changes_nothing_and_reading_is_the_inverse() {
    let mut cache = TimeCache::default();
    let mut nanos = 1_u64;
    for step in 0..20_000_u64 {
        nanos = nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wall = Wall::from_unix_nanos(if step % 3 == 0 { nanos } else { nanos % 5_000_000_000 });
        let rendered = cache.at(wall);
        assert_eq!(rendered, TimeText::at(wall));
        let read = parse_rfc3339(std::str::from_utf8(rendered.as_bytes()).unwrap()).unwrap();
        assert_eq!(read.unix_nanos(), wall.unix_nanos() / 1000 * 1000);
    }
}

#[test]
fn reads_other_writers_times() {
    let read = |text| parse_rfc3339(text).map(Wall::unix_nanos);
    assert_eq!(read("1970-01-01T00:00:01Z"), Some(1_000_000_000));
    assert_eq!(read("1970-01-01t01:00:01.5+01:00"), Some(1_500_000_000));
    assert_eq!(read("1970-01-01T00:00:00.1234567899z"), Some(123_456_789));
    assert_eq!(read("1969-12-31T23:00:00-02:00"), None);
    for bad in [
        "",
        "1970",
        "1970-01-01 00:00:01Z",
        "1970-13-01T00:00:01Z",
        "1970-01-01T00:00:01",
        "1970-01-01T00:00:01.Z",
        "1970-01-01T00:00:00+9:00",
        "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
    assert_eq!(read("9999-12-31T23:59:59Z"), None);
}
