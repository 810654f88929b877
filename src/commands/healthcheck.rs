//! Asks a running service whether it is ready; for containers, whose check must be small and end.

use super::{Failure, client::Target};
use crate::config::Config;
use http::Method;
use serde_json::Value;
use std::time::Duration;
use tokio::{runtime::Builder, time::timeout};

/// Orchestrators give a check some seconds; its own answer says more than their kill.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(config: &Config, url: Option<&str>) -> Result<u8, Failure> {
    let target = Target::of(config, url)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&target)).map_err(|why| format!("not ready: {}: {why}", target.url()))?;
    Ok(0)
}

async fn ask(target: &Target) -> Result<(), Failure> {
    let asked = timeout(PATIENCE, target.http(Method::GET, "/readyz"));
    let answer = asked.await.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?;
    let answer = answer?;
    match answer.status {
        200 => Ok(()),
        status => Err(reason(status, &answer.body).into()),
    }
}

fn reason(status: u16, body: &[u8]) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    match told.as_ref().and_then(|told| told["reason"].as_str()) {
        Some(reason) => reason.to_owned(),
        None => format!("HTTP status {status}; is this the service's HTTP port?"),
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_the_services_own_where_it_gives_one() {
        assert_eq!(reason(503, br#"{"status":"not_ready","reason":"starting"}"#), "starting");
        for body in [&b"<html>"[..], b"", b"{}", br#"{"reason":1}"#] {
            assert!(reason(404, body).contains("status 404"));
        }
    }
}
