//! Where an HTTP service of the operator's is: a URL taken apart once.

use url::{Host, Url};

/// Checked: `http` or `https`, a host, no credentials in the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// The `Host` header.
    pub authority: String,
    /// May hold a secret.
    pub path_and_query: String,
}

/// Without the query, which may hold a secret.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}, tls: {})", self.authority, self.tls)
    }
}

impl Endpoint {
    /// The error says what is wrong and the way out, and quotes nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let way_out = "give one such as http://127.0.0.1:9000/authorise";
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {way_out}"))?;
        let (tls, usual) = match url.scheme() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(format!("is neither http nor https; {way_out}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or password; the service is told by its network".into());
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment; leave out # and what follows".into());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(format!("names no host; {way_out}")),
        };
        let port = url.port().unwrap_or(usual);
        if port == 0 {
            return Err(format!("port 0 cannot be reached; {way_out}"));
        }
        let shown = url.host_str().unwrap_or_default();
        let authority = if port == usual { shown.to_owned() } else { format!("{shown}:{port}") };
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Endpoint { tls, host, port, authority, path_and_query })
    }
}

#[cfg(test)]
mod tests;
