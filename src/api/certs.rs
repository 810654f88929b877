//! Certificate and key for the public ports, read again when their files change.

use super::counters::Counters;
use std::{
    cell::RefCell,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

#[cfg(test)]
mod tests;

/// How often the files are looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Stamp = [Option<(SystemTime, u64)>; 2];

/// One a shard. A pair that does not work changes nothing: the one before goes on.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    counters: Arc<Counters>,
    now: RefCell<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    /// The files that were refused last, so that it is said once.
    refused: Option<Stamp>,
    looked: Instant,
}

impl Certificates {
    /// Fails when the pair does not work: at start that is a bad configuration.
    pub fn open(certificate: &Path, key: &Path, counters: Arc<Counters>) -> Result<Self, Box<dyn Error>> {
        let stamp = stamp(certificate, key);
        let config = load(certificate, key)?;
        let loaded = Loaded { config, stamp, refused: None, looked: Instant::now() };
        Ok(Certificates {
            certificate: certificate.into(),
            key: key.into(),
            counters,
            now: RefCell::new(loaded),
        })
    }

    /// For the connection that was just accepted.
    pub fn current(&self) -> Arc<ServerConfig> {
        if self.now.borrow().looked.elapsed() >= LOOK_INTERVAL {
            self.look();
        }
        self.now.borrow().config.clone()
    }

    /// Two calls of stat, and a load only when something changed.
    fn look(&self) {
        let mut loaded = self.now.borrow_mut();
        loaded.looked = Instant::now();
        let stamp = stamp(&self.certificate, &self.key);
        if stamp == loaded.stamp {
            return;
        }
        match load(&self.certificate, &self.key) {
            Ok(config) => {
                loaded.config = config;
                loaded.stamp = stamp;
                loaded.refused = None;
                self.counters.certificates_reloaded.add();
                tracing::info!(certificate = %self.certificate.display(), "certificate read again");
            }
            Err(error) if loaded.refused != Some(stamp) => {
                loaded.refused = Some(stamp);
                self.counters.certificates_refused.add();
                tracing::warn!(certificate = %self.certificate.display(), %error, "new certificate refused, the old one stays");
            }
            Err(_) => {}
        }
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let data = fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| format!("{}: {error}", certificate.display()))?
        .collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(format!("{}: no certificate in it", certificate.display()).into());
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
