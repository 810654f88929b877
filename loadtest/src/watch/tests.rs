use super::{
    Options,
    figures::{Histogram, Instance, bytes, number, percent, seconds, uptime},
    terminal::{Size, fit},
    view::{self, Line, Tone},
};
use crate::scrape::Scrape;
use std::time::{Duration, Instant};

fn scrape(begun: Instant, after: u64, text: &str) -> Scrape {
    Scrape::read(begun + Duration::from_secs(after), text).expect("metrics")
}

fn options(words: &[&str]) -> Result<Option<Options>, String> {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    Options::read(&words).map_err(|trouble| trouble.to_string())
}

/// One instance, 2 s after its last look.
fn watched(before: &str, now: &str) -> Vec<Instance> {
    let begun = Instant::now();
    let first = Ok(scrape(begun, 0, before));
    let mut instance = Instance { address: "127.0.0.1:5003".to_owned(), now: first, before: None };
    instance.look(Ok(scrape(begun, 2, now)));
    vec![instance]
}

fn texts(block: &[Line]) -> Vec<String> {
    block.iter().map(|line| line.text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn quantiles_are_those_of_prometheus() {
    let made = |buckets: &[(f64, f64)]| Histogram { buckets: buckets.to_vec() };
    let whole = made(&[(0.1, 50.0), (0.5, 90.0), (1.0, 100.0), (f64::INFINITY, 100.0)]);
    assert_eq!(whole.quantile(0.5), Some((0.1, false)));
    assert_eq!(whole.quantile(0.25), Some((0.05, false)));
    assert_eq!(whole.quantile(0.95), Some((0.75, false)));
    let beyond = made(&[(0.1, 50.0), (f64::INFINITY, 100.0)]);
    assert_eq!(beyond.quantile(0.99), Some((0.1, true)));
    assert_eq!(made(&[(0.1, 0.0), (f64::INFINITY, 0.0)]).quantile(0.5), None);
    assert_eq!(Histogram::default().quantile(0.5), None);
    let since = whole.since(&made(&[(0.1, 50.0), (0.5, 50.0), (1.0, 50.0), (f64::INFINITY, 50.0)]));
    assert_eq!((since.count(), since.quantile(0.5)), (50.0, Some((0.35, false))));
}

#[test]
fn histograms_of_shards_are_added_up() {
    let text = "wsm_t_bucket{shard=\"0\",le=\"0.1\"} 1\nwsm_t_bucket{shard=\"0\",le=\"+Inf\"} 2\n\
                wsm_t_bucket{shard=\"1\",le=\"0.1\"} 3\nwsm_t_bucket{shard=\"1\",le=\"+Inf\"} 5\n";
    let read = scrape(Instant::now(), 0, text);
    assert_eq!(Histogram::of(&read, "wsm_t", &[]).buckets, [(0.1, 4.0), (f64::INFINITY, 7.0)]);
    assert_eq!(Histogram::of(&read, "wsm_t", &[("shard", "1")]).count(), 5.0);
}

#[test]
fn figures_are_written_for_people() {
    assert_eq!(
        ["0", "7", "1.5", "99.9", "100", "1,234,567"],
        [0.0, 7.0, 1.5, 99.9, 100.2, 1_234_567.0].map(number).each_ref().map(String::as_str)
    );
    assert_eq!(
        ["0 B", "1.5 KiB", "2.0 MiB"],
        [0.0, 1536.0, 2_097_152.0].map(bytes).each_ref().map(String::as_str)
    );
    assert_eq!(
        ["0.0 us", "1.50 us", "12.5 ms", "250 ms", "2.50 s"],
        [0.0, 1.5e-6, 0.0125, 0.25, 2.5].map(seconds).each_ref().map(String::as_str)
    );
    assert_eq!(
        ["0s", "59s", "1m 1s", "2h 0m", "3d 4h"],
        [0.9, 59.0, 61.0, 7200.0, 273_600.0].map(uptime).each_ref().map(String::as_str)
    );
    assert_eq!(percent(0.125), "12.5 %");
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let one = "wsm_uptime_seconds 5\nwsm_messages_total{shard=\"0\",direction=\"in\"} 10\n";
    let two = "wsm_uptime_seconds 7\nwsm_messages_total{shard=\"0\",direction=\"in\"} 30\n";
    assert_eq!(texts(&view::flows(&watched(one, two), 80)), ["flow a second in all", "messages in 10 30"]);
    // A restart begins at 0, and the last look says nothing about it.
    assert_eq!(texts(&view::flows(&watched(two, one), 80))[1], "messages in - 10");
}

#[test]
fn an_instance_that_goes_and_comes_back_is_told_and_not_compared() {
    let text = "wsm_uptime_seconds 5\nwsm_dials_total 3\n";
    let mut instances = watched(text, text);
    instances[0].look(Err("Connection refused".to_owned()));
    let shown = view::instances(&instances);
    assert!(shown[0].text.contains("not there: Connection refused") && shown[0].tone == Tone::Warning);
    assert_eq!(texts(&view::flows(&instances, 80)), ["flow a second in all"]);
    instances[0].look(Ok(scrape(Instant::now(), 9, text)));
    assert_eq!(texts(&view::flows(&instances, 80))[1], "dials - 3");
}

#[test]
fn only_what_was_lost_is_shown_and_what_is_lost_now_warns() {
    let sample = |reason: &str, count: u32| {
        format!("wsm_messages_dropped_total{{shard=\"0\",reason=\"{reason}\"}} {count}\n")
    };
    let at = |bus: u32, oldest: u32| {
        sample("bus_refused", bus) + &sample("overflow_drop_oldest", oldest) + &sample("not_published", 9)
    };
    let block = view::losses(&watched(&at(4, 0), &at(4, 0)));
    assert_eq!(texts(&block), ["dropped, refused, failed a second in all", "message: bus_refused 0 4"]);
    assert_eq!(block[1].tone, Tone::Plain);
    let block = view::losses(&watched(&at(0, 0), &at(0, 6)));
    assert_eq!(
        (texts(&block)[1].as_str(), block[1].tone),
        ("message: overflow_drop_oldest 3 6", Tone::Warning)
    );
    assert_eq!(texts(&view::losses(&watched(&at(0, 0), &at(0, 0))))[1], "nothing");
}

#[test]
fn each_instance_has_a_column_where_there_is_room() {
    let at = |count: u32| format!("wsm_uptime_seconds 1\nwsm_dials_total {count}\n");
    let mut instances = watched(&at(0), &at(2));
    instances.extend(watched(&at(10), &at(16)));
    instances[1].address = "127.0.0.1:6003".to_owned();
    let wide = texts(&view::flows(&instances, 100));
    assert_eq!(wide, ["flow 127.0.0.1:5003 127.0.0.1:6003 a second in all", "dials 1 3 4 18"]);
    assert_eq!(texts(&view::flows(&instances, 60))[1], "dials 4 18");
}

#[test]
fn the_picture_is_cut_to_the_window() {
    let line = |text: &str| Line { text: text.to_owned(), tone: Tone::Plain };
    let block = |text: &str| vec![line(text); 4];
    let shown = |width, height| {
        let lines = fit(block("head"), vec![block("left")], vec![block("right")], Size { width, height });
        lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
    };
    assert_eq!(shown(80, 24).len(), 14);
    let small = shown(20, 6);
    assert_eq!((small.len(), &*small[5]), (6, "9 more lines: a larg"));
    let wide = shown(140, 24);
    assert_eq!((wide.len(), &*wide[5]), (9, "left    right"));
}

#[test]
fn options_are_read_and_refused_by_name() {
    let read =
        options(&["--admin", "http://10.0.0.1:5003/", "--admin=[::1]:7", "--every", "500ms", "--once"]);
    let admin = vec!["10.0.0.1:5003".to_owned(), "[::1]:7".to_owned()];
    assert_eq!(read, Ok(Some(Options { admin, every: Duration::from_millis(500), once: true })));
    let usual = options(&[]).unwrap().unwrap();
    assert_eq!((usual.admin, usual.every), (vec!["127.0.0.1:5003".to_owned()], Duration::from_secs(1)));
    assert_eq!(options(&["--help", "--nonsense"]), Ok(None));
    for (words, named) in [
        (&["--admin", "5003"][..], "--admin"),
        (&["--admin", "host:0"], "--admin"),
        (&["--admin", "host:5003/metrics"], "--admin"),
        (&["--every", "1ms"], "--every"),
        (&["--every", "1x"], "--every"),
        (&["--every"], "--every"),
        (&["--nonsense"], "--nonsense"),
    ] {
        assert!(options(words).is_err_and(|why| why.starts_with(named)), "{words:?}");
    }
}
