//! Which pages may open a WebSocket: browsers say in `Origin` whose page asks, send cookies along,
//! and let any page ask, so that the server must judge.

/// A web origin, exactly: scheme, host and port. Only `http` and `https` have one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    tls: bool,
    /// In small letters.
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// As browsers write it; `null`, and whatever else is no origin, is None.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let tls = match scheme {
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            _ => return None,
        };
        Origin::of_host(tls, authority)
    }

    /// The server's own, by the `Host` header that it was called by.
    pub fn of_host(tls: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                let fits = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
                fits.then_some((&authority[..address.len() + 2], port))?
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        let port = match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().filter(|n| *n != 0)?
            }
            Some(_) => return None,
        };
        Some(Origin { tls, host: host.to_ascii_lowercase().into(), port })
    }
}

/// Whose pages are let in. Who sends no `Origin` is no page and is always let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of this very server. Even where nobody is asked for credentials a foreign page is
    /// refused: it runs in a browser that may reach what its author does not.
    #[default]
    Own,
    /// These and no others: not even the server's own, whose name an attacker's page may borrow by
    /// pointing its own name here.
    Listed(Vec<Origin>),
    Any,
}

impl Origins {
    /// Of texts that are each an origin or `*`; none: the default. The error is the text that is none.
    pub fn of(texts: &[impl AsRef<str>]) -> Result<Self, String> {
        if texts.iter().any(|text| text.as_ref() == "*") {
            return Ok(Origins::Any);
        }
        if texts.is_empty() {
            return Ok(Origins::Own);
        }
        let parse = |text: &str| Origin::parse(text).ok_or_else(|| text.to_owned());
        Ok(Origins::Listed(texts.iter().map(|text| parse(text.as_ref())).collect::<Result<_, _>>()?))
    }

    /// `given`: the header as it came. `own`: by which name the server was called.
    pub fn admit(&self, given: Option<&[u8]>, own: Option<&Origin>) -> bool {
        let Some(given) = given else { return true };
        let origin = || std::str::from_utf8(given).ok().and_then(Origin::parse);
        match self {
            Origins::Any => true,
            Origins::Own => own.is_some() && origin().as_ref() == own,
            Origins::Listed(listed) => origin().is_some_and(|origin| listed.contains(&origin)),
        }
    }
}

#[cfg(test)]
mod tests;
