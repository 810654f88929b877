//! Who looks on: spans to a collector where one is named, and what each shard counts of calls.

use super::Failure;
use crate::{
    api::{observe::Observer, service::Readiness},
    config::Config,
    ports::spans::Spans,
    telemetry::{
        collect::Standing,
        otlp::{self, Exporter, OtlpConfig},
    },
};
use std::sync::Arc;

/// Off without a collector.
pub(super) fn start(config: &Config) -> Result<(Spans, Option<Exporter>), Failure> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok((Spans::default(), None)) };
    let (spans, exporter) = otlp::start(OtlpConfig {
        endpoint: endpoint.clone(),
        one_in: config.trace_one_in,
        instance: config.instance_id.clone(),
    })?;
    Ok((spans, Some(exporter)))
}

pub(super) fn observers(config: &Config, spans: &Spans) -> Vec<Observer> {
    let observer = || Observer { spans: spans.clone(), ..Observer::default() };
    (0..config.shards).map(|_| observer()).collect()
}

/// How far the instance is, for the metrics page.
pub(super) fn standing(readiness: Arc<Readiness>) -> Box<dyn Fn() -> Standing + Send + Sync> {
    Box::new(move || Standing { ready: readiness.not_ready().is_none(), draining: readiness.is_draining() })
}
