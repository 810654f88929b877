use super::*;

fn request(method: Method, origin: &str, host: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri("/v1/connections")
        .header("origin", origin)
        .header("host", host)
        .body(())
        .unwrap()
}

#[test]
fn who_may() {
    let cors = Cors::new(&["https://a.example".into(), "HTTPS://B.example:8443/".into()]);
    for (method, origin, host, expected) in [
        (Method::POST, "https://a.example", "h", "allowed"),
        (Method::POST, "https://b.example:8443", "h", "allowed"),
        (Method::POST, "https://a.example.evil", "h", "refused"),
        (Method::POST, "http://a.example", "h", "refused"),
        (Method::POST, "null", "h", "refused"),
        (Method::GET, "null", "h", "plain"),
        (Method::POST, "http://h:1", "h:1", "plain"),
        (Method::POST, "http://h:2", "h:1", "refused"),
        (Method::OPTIONS, "https://evil", "h", "refused"),
    ] {
        let verdict = match cors.judge(&request(method.clone(), origin, host)) {
            Verdict::Answer(response) if response.status() == StatusCode::FORBIDDEN => "refused",
            Verdict::Answer(_) => "answered",
            Verdict::Plain => "plain",
            Verdict::Allowed(_) => "allowed",
        };
        assert_eq!(verdict, expected, "{method} {origin}");
    }
    let all = Cors::new(&["*".into()]);
    assert!(matches!(all.judge(&request(Method::PUT, "https://x", "h")), Verdict::Allowed(_)));
    let none = Request::builder().method(Method::DELETE).body(()).unwrap();
    assert!(matches!(Cors::default().judge(&none), Verdict::Plain));
}
