//! Correlation rules as a caller gives them. Whoever holds a `Rule` holds valid arguments.

use crate::{
    core::{
        json::{Pointer, Scalar},
        reason::Fault,
    },
    limits,
};
use std::time::Duration;

/// How the reply of a Send is told from everything else the peer sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// By the top-level `id` of a JSON object, where there is one; else `Fifo`.
    #[default]
    Auto,
    Json {
        request: Pointer,
        response: Pointer,
        inject: Inject,
    },
    /// `id`, where a message that has a `method` is the peer's own call and no reply.
    JsonRpc,
    /// `[2, "<id>", ...]` answered by `[3|4, "<id>", ...]`, the id at this position.
    Array {
        position: usize,
    },
    /// 16 random bytes before the payload, echoed by the peer.
    Prefix,
    /// The next message that nothing else claims.
    Fifo {
        resync: Duration,
    },
    /// The first message whose value at `path` equals a constant.
    Match {
        path: Pointer,
        equals: String,
    },
}

/// What becomes of a request that lacks an id, or brings one that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inject {
    /// It is refused.
    #[default]
    No,
    /// It gets a UUID (version 4) as a string.
    Uuid,
    /// It gets a number: 1, 2, 3 and so on, per connection.
    Integer,
}

impl Rule {
    /// An empty response path is the request's.
    pub fn json(request: &str, response: &str, inject: Inject) -> Result<Rule, Fault> {
        let response = if response.is_empty() { request } else { response };
        Ok(Rule::Json {
            request: member_path("correlation.json.request_path", request)?,
            response: member_path("correlation.json.response_path", response)?,
            inject,
        })
    }

    /// Position 0, where the message's type stands, means the usual one: 1.
    pub fn array(position: u64) -> Result<Rule, Fault> {
        match usize::try_from(position.max(1)) {
            Ok(position) if position <= limits::ARRAY_POSITION_MAX => Ok(Rule::Array { position }),
            _ => Err(Fault::invalid("correlation.array.position", "must be at most 15")),
        }
    }

    /// 0 means the default.
    pub fn fifo(resync_ms: u64) -> Result<Rule, Fault> {
        let resync = match resync_ms {
            0 => limits::FIFO_RESYNC_DEFAULT,
            _ => Duration::from_millis(resync_ms),
        };
        if resync > limits::FIFO_RESYNC_MAX {
            return Err(Fault::invalid("correlation.fifo.resync_ms", "must be at most 60000"));
        }
        Ok(Rule::Fifo { resync })
    }

    /// The constant is the JSON scalar that it spells (`200`, `true`, `"200"`), else a string.
    pub fn matching(path: &str, equals: &str) -> Result<Rule, Fault> {
        let path = member_path("correlation.match.path", path)?;
        if equals.len() > limits::CORRELATION_ID_BYTES_MAX {
            return Err(Fault::invalid("correlation.match.equals", "must be at most 256 bytes"));
        }
        Ok(Rule::Match { path, equals: equals.to_owned() })
    }

    /// Whether the frame must be binary whatever the caller's message was.
    pub fn forces_binary(&self) -> bool {
        matches!(self, Rule::Prefix)
    }
}

fn member_path(field: &'static str, path: &str) -> Result<Pointer, Fault> {
    match Pointer::parse(path) {
        Ok(pointer) if pointer.is_root() => Err(Fault::invalid(field, "must name a member, such as '/id'")),
        Ok(pointer) => Ok(pointer),
        Err(bad) => Err(Fault::invalid(field, bad.to_string())),
    }
}

/// Ids beyond the bound are refused on the way out and overlooked on the way in.
pub(super) fn bounded_scalar(raw: &[u8]) -> Option<Scalar<'_>> {
    // `\u0061` is the longest spelling of one byte.
    if raw.len() > limits::CORRELATION_ID_BYTES_MAX * 6 + 2 {
        return None;
    }
    let scalar = Scalar::parse(raw)?;
    let length = match &scalar {
        Scalar::Str(text) => text.len(),
        _ => raw.len(),
    };
    (length <= limits::CORRELATION_ID_BYTES_MAX).then_some(scalar)
}
