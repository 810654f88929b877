use super::*;
use crate::api::validate::Defaults;
use http::Request;

fn of(specs: &Specs, tls: bool, host: &str, uri: &str) -> Result<Arc<Spec>, u16> {
    let parts = Request::get(uri).header("host", host).body(()).unwrap().into_parts().0;
    specs.of(tls, &parts).map_err(|refused| refused.into_response().status().as_u16())
}

#[test]
fn those_that_came_by_the_same_url_share_one() {
    let specs = Specs::new(Defaults::default().settings);
    let one = of(&specs, false, "a.example:5001", "/ws?room=a&epoch=1&offset=2&access_token=t").unwrap();
    let other = of(&specs, false, "a.example:5001", "/ws?access_token=u&room=a").unwrap();
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(one.dial.target.redacted(), "ws://a.example:5001/ws?room=a");
    assert!(!one.has_secrets && !one.settings.auto_reconnect);
    let tls = of(&specs, true, "a.example", "/ws/x?ticket=s&room=a").unwrap();
    assert_eq!(tls.dial.target.redacted(), "wss://a.example/ws/x?ticket=***&room=a");
    assert!(Arc::ptr_eq(&one.settings, &tls.settings));
}

#[test]
fn hosts_are_read_strictly_and_what_is_kept_has_bounds() {
    let specs = Specs::new(Defaults::default().settings);
    for host in ["", "a b", "u@a.example", "a.example:0", "a..b", "a/b"] {
        assert_eq!(of(&specs, false, host, "/ws/x").map(|_| ()), Err(400), "{host}");
    }
    let long = format!("/ws/x?{}", "q".repeat(limits::URL_BYTES_MAX));
    let short = of(&specs, false, "a", &long).unwrap();
    assert_eq!(short.dial.target.redacted(), "ws://a/ws/x");
    for n in 0..limits::ACCEPTED_SPECS_KEPT + 10 {
        of(&specs, false, "a", &format!("/ws/{n}")).unwrap();
    }
    assert!(specs.known.lock().len() <= limits::ACCEPTED_SPECS_KEPT);
}
