//! One number for what instances of a fleet should have in common.

use super::{Config, schema::Group};
use ring::digest::{Context, SHA256};

/// What differs between them by nature, beside all of how they listen.
const OWN: &[&str] = &["instance_id", "advertise", "shards", "data_dir", "config", "secret_key_file"];

impl Config {
    /// The same for the same settings, whatever gave them. As many bits as a metric's value holds
    /// exactly; of secrets only whether they are set, so that nobody can try them against it.
    pub fn fingerprint(&self) -> u64 {
        let mut digest = Context::new(&SHA256);
        let shared = self.shown.iter().filter(|it| {
            let setting = it.setting();
            setting.group != Group::Listening && !OWN.contains(&setting.key)
        });
        for it in shared {
            let value = it.value().unwrap_or(if it.is_set() { "(secret)" } else { "(none)" });
            for part in [it.setting().key, value] {
                digest.update(&(part.len() as u64).to_be_bytes());
                digest.update(part.as_bytes());
            }
        }
        let digest = digest.finish();
        digest.as_ref().iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
