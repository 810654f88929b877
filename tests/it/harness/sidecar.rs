//! A real Dapr sidecar with its component files in a folder of its own.

use super::{
    daemon::{Daemon, daprd, free_ports},
    http::{Answer, Http},
    redis::Redis,
    wait_for,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path};
use tempfile::TempDir;

/// What stands behind the components.
#[derive(Clone, Copy)]
pub enum Behind<'a> {
    Redis(&'a Redis),
    /// Each sidecar has its own, and forgets it at its end.
    Memory,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub app_id: String,
    /// How long publish and state go on after SIGTERM.
    pub block_shutdown: Option<String>,
    /// Asked of everybody who calls the API.
    pub api_token: Option<String>,
    /// Also a component `pubsub-broadcast`, whose every subscriber receives everything.
    pub broadcast: bool,
    /// Further arguments of daprd.
    pub more: Vec<String>,
}

impl Options {
    pub fn new(app_id: &str) -> Self {
        let (block_shutdown, api_token) = (Some("10s".to_owned()), None);
        Options { app_id: app_id.to_owned(), block_shutdown, api_token, broadcast: false, more: Vec::new() }
    }
}

/// The names that the service assumes.
pub const STATE_STORE: &str = "statestore";
pub const PUBSUB: &str = "pubsub";
pub const BROADCAST: &str = "pubsub-broadcast";

pub struct Sidecar {
    pub http_port: u16,
    pub grpc_port: u16,
    pub options: Options,
    daemon: Daemon,
    _folder: TempDir,
}

impl Sidecar {
    /// None, and said, when there is no daprd here.
    pub async fn start(behind: Behind<'_>, options: Options) -> Option<Self> {
        let program = daprd()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_files(folder.path(), behind, options.broadcast).expect("the folder takes files");
        let ports = free_ports::<5>();
        let args = arguments(ports, &options);
        let mut daemon = Daemon::new(program, folder.path(), args);
        if let Some(token) = &options.api_token {
            daemon = daemon.env("DAPR_API_TOKEN", token);
        }
        let [http_port, grpc_port, ..] = ports;
        let mut sidecar = Sidecar { http_port, grpc_port, options, daemon, _folder: folder };
        sidecar.start_again().await;
        Some(sidecar)
    }

    /// On the same ports.
    pub async fn start_again(&mut self) {
        self.daemon.start();
        let http = self.http();
        wait_for("the sidecar to be ready", async || {
            self.daemon.assert_runs();
            let answer = http.try_get("/v1.0/healthz/outbound").await?;
            (answer.status == 204).then_some(())
        })
        .await;
    }

    pub async fn kill(&mut self) {
        self.daemon.kill().await;
    }

    /// SIGTERM without waiting: it serves on for `block_shutdown`.
    pub async fn begin_shutdown(&self) {
        self.daemon.signal("TERM").await;
    }

    /// The exit code, once it has ended by itself or by `begin_shutdown`.
    pub async fn wait(&mut self) -> i32 {
        self.daemon.wait().await
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.daemon.terminate().await
    }

    /// It keeps its connections and answers nothing until `resume`.
    pub async fn pause(&self) {
        self.daemon.signal("STOP").await;
    }

    pub async fn resume(&self) {
        self.daemon.signal("CONT").await;
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }

    pub fn http(&self) -> Http {
        Http::new(SocketAddr::from(([127, 0, 0, 1], self.http_port)), None)
    }

    /// What makes the service use this sidecar.
    pub fn service_args(&self) -> [String; 4] {
        let (grpc, http) = (self.grpc_port.to_string(), self.http_port.to_string());
        ["--dapr-grpc-port".to_owned(), grpc, "--dapr-http-port".to_owned(), http]
    }

    /// A call to its API with a body of this type; the token goes with it.
    pub async fn call(&self, method: &str, path: &str, content: Option<(&str, String)>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.options.api_token {
            request = request.header("dapr-api-token", token);
        }
        let body = match content {
            None => Full::default(),
            Some((content_type, body)) => {
                request = request.header("content-type", content_type);
                Full::from(Bytes::from(body))
            }
        };
        self.http().send(request.body(body).expect("a request")).await
    }

    /// An event that already is a CloudEvent goes to the broker as it is; anything else is wrapped.
    pub async fn publish(&self, topic: &str, event: &Value) {
        let ours = event.get("specversion").is_some();
        let (content, query) = match ours {
            true => ("application/cloudevents+json", "?metadata.rawPayload=true"),
            false => ("application/json", ""),
        };
        let path = format!("/v1.0/publish/{PUBSUB}/{topic}{query}");
        let answer = self.call("POST", &path, Some((content, event.to_string()))).await;
        assert_eq!(answer.status, 204, "publish to {topic}: {}", answer.text());
    }

    /// A document and its etag.
    pub async fn load(&self, key: &str) -> Option<(Value, String)> {
        let answer = self.call("GET", &format!("/v1.0/state/{STATE_STORE}/{key}"), None).await;
        if answer.status == 204 {
            return None;
        }
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        let etag = answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).expect("an etag");
        Some((answer.json(), etag.to_owned()))
    }

    /// First write wins; with the etag of an earlier `load`, or None to create. False: another one
    /// was first.
    pub async fn save(&self, key: &str, value: &Value, etag: Option<&str>) -> bool {
        let mut item = json!({"key": key, "value": value, "options": {"concurrency": "first-write"}});
        if let Some(etag) = etag {
            item["etag"] = json!(etag);
        }
        let body = json!([item]).to_string();
        let path = format!("/v1.0/state/{STATE_STORE}");
        let answer = self.call("POST", &path, Some(("application/json", body))).await;
        match answer.status {
            204 => true,
            // The Redis component calls a create that came second a plain failure.
            409 | 500 => false,
            _ => panic!("{key}: {} {}", answer.status, answer.text()),
        }
    }

    pub async fn remove(&self, key: &str) {
        let answer = self.call("DELETE", &format!("/v1.0/state/{STATE_STORE}/{key}"), None).await;
        assert_eq!(answer.status, 204, "{key}: {}", answer.text());
    }
}

fn arguments([http, grpc, internal, metrics, profile]: [u16; 5], options: &Options) -> Vec<String> {
    let ports = [
        ("--dapr-http-port", http),
        ("--dapr-grpc-port", grpc),
        ("--dapr-internal-grpc-port", internal),
        ("--metrics-port", metrics),
        ("--profile-port", profile),
    ];
    let fixed = "--mode standalone --resources-path resources --config config.yaml \
         --dapr-listen-addresses 127.0.0.1 --dapr-internal-grpc-listen-address 127.0.0.1 \
         --metrics-listen-address 127.0.0.1 --enable-metrics=false --max-body-size 16Mi \
         --dapr-graceful-shutdown-seconds 5 --log-level info";
    let mut args: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    args.extend(["--app-id".to_owned(), options.app_id.clone()]);
    for (flag, port) in ports {
        args.extend([flag.to_owned(), port.to_string()]);
    }
    if let Some(span) = &options.block_shutdown {
        args.extend(["--dapr-block-shutdown-duration".to_owned(), span.clone()]);
    }
    args.extend(options.more.iter().cloned());
    args
}

/// JSON is YAML.
fn write_files(folder: &Path, behind: Behind<'_>, broadcast: bool) -> std::io::Result<()> {
    let resources = folder.join("resources");
    fs::create_dir(&resources)?;
    let component = |name: &str, part: &str, pairs: &[(&str, &str)]| {
        let (kind, host) = match behind {
            Behind::Redis(redis) => ("redis", Some(redis.address())),
            Behind::Memory => ("in-memory", None),
        };
        let mut metadata = Vec::new();
        if let Some(host) = host {
            metadata.push(json!({"name": "redisHost", "value": host}));
            metadata.extend(pairs.iter().map(|(name, value)| json!({"name": name, "value": value})));
        }
        let document = json!({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name},
            "spec": {"type": format!("{part}.{kind}"), "version": "v1", "metadata": metadata},
        });
        fs::write(resources.join(format!("{name}.yaml")), document.to_string())
    };
    component(STATE_STORE, "state", &[("keyPrefix", "name"), ("poolSize", "64")])?;
    let shared =
        [("maxLenApprox", "1000000"), ("concurrency", "128"), ("queueDepth", "512"), ("poolSize", "128")];
    component(PUBSUB, "pubsub", &shared)?;
    if broadcast {
        component(BROADCAST, "pubsub", &[("consumerID", "{uuid}"), ("streamTTL", "60s")])?;
    }
    let resiliency = json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": "wsmgr"},
        "spec": {
            "policies": {
                "timeouts": {"state": "2s", "publish": "5s", "deliver": "5s"},
                "retries": {
                    "quick": {"policy": "constant", "duration": "50ms", "maxRetries": 2},
                    "deliver": {"policy": "exponential", "maxInterval": "2s", "maxRetries": 4},
                },
            },
            "targets": {"components": {
                (STATE_STORE): {"outbound": {"timeout": "state"}},
                (PUBSUB): {
                    "outbound": {"timeout": "publish", "retry": "quick"},
                    "inbound": {"timeout": "deliver", "retry": "deliver"},
                },
            }},
        },
    });
    fs::write(resources.join("resiliency.yaml"), resiliency.to_string())?;
    let config = json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": "wsmgr"},
        "spec": {
            "tracing": {"samplingRate": "0"}, "metrics": {"enabled": false},
            "features": [{"name": "HotReload", "enabled": false}],
        },
    });
    fs::write(folder.join("config.yaml"), config.to_string())
}
