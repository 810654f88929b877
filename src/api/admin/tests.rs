use super::*;
use crate::api::testing::{ask, on_a_shard, start};
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
struct Hooks(AtomicUsize);

impl AdminHooks for Hooks {
    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async { "wsm_up 1\n".to_owned() })
    }
    fn config(&self) -> String {
        "listen = \"127.0.0.1\"\n".into()
    }
    fn drain(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn metrics_configuration_and_drain() {
    on_a_shard(async {
        let hooks = Arc::new(Hooks::default());
        let running = start(router(hooks.clone()));
        let metrics = ask(running.address, "GET", "/metrics", "", "").await;
        assert_eq!((metrics.status, metrics.body.as_str()), (200, "wsm_up 1\n"));
        assert_eq!(metrics.header("content-type"), Some(METRICS_TYPE));
        assert!(ask(running.address, "GET", "/config", "", "").await.body.starts_with("listen"));
        assert_eq!(ask(running.address, "GET", "/livez", "", "").await.status, 200);
        assert_eq!(ask(running.address, "GET", "/drain", "", "").await.status, 405);
        assert_eq!(ask(running.address, "POST", "/drain", "origin: http://a\r\n", "").await.status, 403);
        assert_eq!(hooks.0.load(Ordering::Relaxed), 0);
        assert_eq!(ask(running.address, "POST", "/drain", "", "").await.status, 202);
        assert_eq!(hooks.0.load(Ordering::Relaxed), 1);
        assert_eq!(ask(running.address, "GET", "/v1/connections", "", "").await.status, 404);
    });
}
