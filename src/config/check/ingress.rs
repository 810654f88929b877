//! Routes, and who comes in by them.

use super::Findings;
use crate::{
    config::{Config, sources::Resolved},
    core::{
        endpoint::Endpoint,
        rooms::route::{Auth, Routes},
        token::keys,
    },
    limits,
};
use std::{fs, io::Read, path::Path};

const TOKEN: [&str; 3] = ["token_keys", "token_audience", "token_issuer"];

pub fn check(config: &Config, values: &Resolved, findings: &mut Findings) {
    routes(config, values, findings);
    token(config, values, findings);
    authoriser(config, values, findings);
}

fn routes(config: &Config, values: &Resolved, findings: &mut Findings) {
    let source = &values.entry("route").source;
    let routes = &config.ingress.routes;
    if routes.len() > limits::ROUTES_MAX {
        let (count, most) = (routes.len(), limits::ROUTES_MAX);
        findings.problems.push(format!("route ({source}) is given {count} times; at most {most} are kept"));
    }
    for (place, route) in routes.iter().enumerate() {
        if let Some(other) = routes[..place].iter().find(|other| other.same_path(route)) {
            findings.problems.push(format!(
                "route = '{}' ({source}) has the same path as '{}'; keep one of them",
                route.path, other.path
            ));
        }
    }
    if config.rooms.rules.rules.len() > limits::ROOM_RULES_MAX {
        let (source, most) = (&values.entry("room_rule").source, limits::ROOM_RULES_MAX);
        findings.problems.push(format!("room_rule ({source}) is given too often; at most {most} are kept"));
    }
}

/// By which settings, if any, somebody comes in this way.
fn users(config: &Config, values: &Resolved, auth: Auth) -> Vec<String> {
    let routes = Routes::new(config.ingress.routes.clone());
    let mut users = Vec::new();
    if config.ingress.auth == auth && routes.iter().any(|route| route.auth.is_none()) {
        users.push(format!("ws_auth ({})", values.entry("ws_auth").source));
    }
    let named = routes.iter().filter(|route| route.auth == Some(auth));
    users.extend(named.map(|route| format!("route '{}' ({})", route.path, values.entry("route").source)));
    users
}

fn token(config: &Config, values: &Resolved, findings: &mut Findings) {
    let missing: Vec<_> = TOKEN.into_iter().filter(|key| !values.given(key)).collect();
    let flags: Vec<_> = missing.iter().map(|key| format!("--{}", key.replace('_', "-"))).collect();
    let flags = flags.join(", ");
    let users = users(config, values, Auth::Token);
    if !missing.is_empty() {
        let mut wanting = users.clone();
        wanting.extend(
            TOKEN
                .into_iter()
                .filter(|key| values.given(key))
                .map(|key| format!("{key} ({})", values.entry(key).source)),
        );
        for who in wanting {
            findings.problems.push(format!("{who}: tokens need {flags} too; give what is missing"));
        }
    } else if users.is_empty() {
        let warning =
            "token_keys is set and no route asks for tokens; set ws_auth = 'token', or auth=token at a route";
        findings.warnings.push(warning.into());
    }
    if let Some(path) = values.text("token_keys").map(Path::new)
        && let Err(wrong) = read_keys(path)
    {
        let source = &values.entry("token_keys").source;
        findings.problems.push(format!("token_keys = '{}' ({source}) {wrong}", path.display()));
    }
}

fn read_keys(path: &Path) -> Result<(), String> {
    let mut text = Vec::new();
    let bound = limits::TOKEN_KEYS_BYTES_MAX as u64 + 1;
    let read = fs::File::open(path).and_then(|file| file.take(bound).read_to_end(&mut text));
    read.map_err(|error| format!("cannot be read: {error}; name a JSON web key set"))?;
    if text.len() > limits::TOKEN_KEYS_BYTES_MAX {
        return Err(format!("is longer than {} bytes", limits::TOKEN_KEYS_BYTES_MAX));
    }
    keys::parse(&text).map(drop)
}

fn authoriser(config: &Config, values: &Resolved, findings: &mut Findings) {
    let users = users(config, values, Auth::Authoriser);
    let source = &values.entry("ws_authoriser").source;
    match &config.ingress.authoriser {
        None => {
            for who in users {
                findings.problems.push(format!("{who} needs the authoriser's URL; give --ws-authoriser"));
            }
        }
        Some(url) => {
            if let Err(wrong) = Endpoint::parse(url.reveal()) {
                findings.problems.push(format!("ws_authoriser = (not shown) ({source}) {wrong}"));
            }
            if users.is_empty() {
                let warning = "ws_authoriser is set and no route asks it; set ws_auth = 'authoriser', or auth=authoriser at a route";
                findings.warnings.push(warning.into());
            }
        }
    }
}
