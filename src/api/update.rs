//! Which settings of a living connection can change, and when the change works.

use crate::{core::reason::Fault, proto::ConnectRequest};

/// At once, or from the next dial on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    AtReconnect,
}

/// The fields that Update may change, in proto spelling.
const CHANGEABLE: &[(&str, When)] = &[
    ("auto_reconnect", When::Now),
    ("headers", When::AtReconnect),
    ("subprotocols", When::AtReconnect),
    ("tls", When::AtReconnect),
    ("source_ip", When::AtReconnect),
    ("connect_timeout_ms", When::AtReconnect),
    ("heartbeat", When::Now),
    ("idle", When::Now),
    ("reconnect", When::Now),
    ("limits", When::Now),
    ("correlation", When::Now),
    ("max_message_bytes", When::Now),
    // Known by the contract; `validate` says which of them this version can do.
    ("proxy", When::AtReconnect),
    ("fallback_urls", When::AtReconnect),
    ("open_messages", When::AtReconnect),
    ("ignore", When::Now),
    ("rotate", When::Now),
    ("rooms", When::Now),
    ("sequence", When::Now),
    ("variables", When::AtReconnect),
];

/// The paths to change: those of the mask, or without one those that the settings give.
pub fn paths(mask: Option<Vec<String>>, settings: &ConnectRequest) -> Result<Vec<&'static str>, Fault> {
    let mask = mask.unwrap_or_default();
    if mask.is_empty() {
        let given = given(settings);
        if given.is_empty() {
            return Err(Fault::invalid(
                "settings",
                "give at least one setting, or an update_mask that names one",
            ));
        }
        return given.into_iter().map(|path| known(path, "settings")).collect();
    }
    mask.iter().map(|path| known(path, "update_mask")).collect()
}

fn known(path: &str, field: &'static str) -> Result<&'static str, Fault> {
    if let Some((name, _)) = CHANGEABLE.iter().find(|(name, _)| *name == path) {
        return Ok(name);
    }
    let way_out = match path {
        "tags" => "use SetTags",
        "publish" => "use StartPublish",
        "url" | "connection_id" | "profile" => "Connect a new connection",
        _ if path.contains('.') => "name the whole setting, not a part of it",
        _ => "it is no field of ConnectRequest",
    };
    let shown = crate::core::redact::escape_log(path).into_owned();
    Err(Fault::invalid(field, format!("'{shown}' cannot be changed: {way_out}")))
}

/// Fields that are not at their default.
fn given(settings: &ConnectRequest) -> Vec<&'static str> {
    let fields = [
        ("url", !settings.url.is_empty()),
        ("auto_reconnect", settings.auto_reconnect),
        ("tags", !settings.tags.is_empty()),
        ("connection_id", !settings.connection_id.is_empty()),
        ("headers", !settings.headers.is_empty()),
        ("subprotocols", !settings.subprotocols.is_empty()),
        ("tls", settings.tls.is_some()),
        ("proxy", settings.proxy.is_some()),
        ("source_ip", !settings.source_ip.is_empty()),
        ("fallback_urls", !settings.fallback_urls.is_empty()),
        ("connect_timeout_ms", settings.connect_timeout_ms != 0),
        ("open_messages", !settings.open_messages.is_empty()),
        ("heartbeat", settings.heartbeat.is_some()),
        ("ignore", !settings.ignore.is_empty()),
        ("idle", settings.idle.is_some()),
        ("reconnect", settings.reconnect.is_some()),
        ("rotate", settings.rotate.is_some()),
        ("limits", settings.limits.is_some()),
        ("correlation", settings.correlation.is_some()),
        ("publish", settings.publish.is_some()),
        ("rooms", !settings.rooms.is_empty()),
        ("sequence", settings.sequence.is_some()),
        ("max_message_bytes", settings.max_message_bytes != 0),
        ("profile", !settings.profile.is_empty()),
        ("variables", !settings.variables.is_empty()),
    ];
    fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
}

pub fn merge(request: &mut ConnectRequest, settings: ConnectRequest, paths: &[&str]) {
    let has = |path: &str| paths.contains(&path);
    macro_rules! take {
        ($($field:ident)+) => { $(if has(stringify!($field)) { request.$field = settings.$field; })+ };
    }
    take!(auto_reconnect headers subprotocols tls proxy source_ip fallback_urls connect_timeout_ms open_messages
        heartbeat ignore idle reconnect rotate limits correlation rooms sequence max_message_bytes variables);
}

/// What works now and what works from the next dial on.
pub fn when(paths: Vec<&'static str>, live: bool) -> (Vec<String>, Vec<String>) {
    let later = |path: &&str| {
        live && CHANGEABLE.iter().any(|(name, when)| name == path && *when == When::AtReconnect)
    };
    let (later, now): (Vec<_>, Vec<_>) = paths.into_iter().partition(later);
    (now.into_iter().map(str::to_owned).collect(), later.into_iter().map(str::to_owned).collect())
}
