//! What List shows of accepted connections, shared by those that came by the same URL.

use super::refused::Refused;
use crate::{
    core::{
        origin::Origin,
        reason::Fault,
        rooms::request,
        spec::{Dial, Settings, Spec},
        target::Target,
    },
    limits,
};
use bytes::Bytes;
use http::{header, request::Parts};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Of one thread, so that its lock is never waited for.
pub struct Specs {
    settings: Arc<Settings>,
    /// Looked up, never iterated.
    known: Mutex<HashMap<String, Arc<Spec>>>,
}

impl Specs {
    pub fn new(settings: Arc<Settings>) -> Self {
        Specs { settings, known: Mutex::default() }
    }

    /// Where this client came in. What one client alone said (its place, its token) is left out, and
    /// what looks like a secret is masked: thousands in a room share one.
    pub fn of(&self, tls: bool, parts: &Parts) -> Result<Arc<Spec>, Refused> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if Origin::of_host(tls, host).is_none() {
            return Err(Fault::invalid("host", "must be host or host:port").into());
        }
        let scheme = if tls { "wss" } else { "ws" };
        let query = request::shown(parts.uri.query().unwrap_or_default());
        let bare = format!("{scheme}://{host}{}", parts.uri.path());
        let whole = if query.is_empty() { bare.clone() } else { format!("{bare}?{query}") };
        // A query that is too long to be kept was understood all the same.
        let url = if whole.len() > limits::URL_BYTES_MAX { bare } else { whole };
        let mut known = self.known.lock();
        if let Some(spec) = known.get(&url) {
            return Ok(spec.clone());
        }
        let spec = Arc::new(self.make(&url)?);
        if known.len() >= limits::ACCEPTED_SPECS_KEPT {
            known.clear();
        }
        known.insert(url, spec.clone());
        Ok(spec)
    }

    fn make(&self, url: &str) -> Result<Spec, Fault> {
        let dial = Dial {
            target: Target::parse(url)?,
            headers: Vec::new(),
            subprotocols: Vec::new(),
            tls: None,
            source_ip: None,
            timeout: limits::HANDSHAKE_DEADLINE,
        };
        Ok(Spec { dial, settings: self.settings.clone(), source: Bytes::new(), has_secrets: false })
    }
}

#[cfg(test)]
mod tests;
