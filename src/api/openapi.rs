//! The OpenAPI document, made at start from the route table and the proto, and Swagger UI over it.

use super::{
    counters::calls::Method,
    health, json,
    routes::{ParamKind, ROUTES, Route, Shape},
};
use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use http::{Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};

mod descriptor;
pub mod schema;
#[cfg(test)]
mod tests;

use schema::Schemas;

/// 3.0 rather than 3.1: every generator and fuzzer reads it.
const OPENAPI: &str = "3.0.3";
const SWAGGER_PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WebSocket Manager</title>
<link rel="stylesheet" href="/swagger/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/swagger/swagger-ui-bundle.js"></script>
<script>window.onload = () => { SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui" }); };</script>
</body>
</html>
"##;

/// `/openapi.json` and `/swagger`, which works without a network.
pub fn router() -> Router {
    let text = Bytes::from(document().to_string());
    let document = get(async move || json::plain(StatusCode::OK, json::JSON, text.clone()));
    // Only the files: the library's own page repeats the request's URI unescaped.
    let files: Router = generate_routes(ApiDefinition {
        uri_prefix: "/swagger",
        api_definition: OpenApiSource::Uri("/openapi.json"),
        title: None,
    });
    let mut router = Router::new()
        .route("/openapi.json", document)
        .route("/swagger", get(page))
        .route("/swagger/", get(page));
    for file in ["/swagger/swagger-ui.css", "/swagger/swagger-ui-bundle.js"] {
        let files = files.clone();
        router = router.route(file, get(move |request: Request<Body>| asset(files, request)));
    }
    router
}

async fn page() -> Response<Body> {
    json::plain(StatusCode::OK, "text/html; charset=utf-8", SWAGGER_PAGE)
}

async fn asset(files: Router, request: Request<Body>) -> Response<Body> {
    let answered: Result<_, std::convert::Infallible> = tower::ServiceExt::oneshot(files, request).await;
    let mut response = answered.unwrap_or_else(|never| match never {});
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("max-age=86400"));
    response
}

pub fn document() -> Value {
    let mut schemas = Schemas::load();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas);
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation;
    }
    for (path, about, statuses) in [
        ("/health", "Version and state, always 200.", &["200"][..]),
        ("/livez", "Alive; depends on no backend.", &["200"]),
        ("/readyz", "Ready, or 503 with the reason.", &["200", "503"]),
    ] {
        let response = |status: &&str| {
            let content =
                json!({"description": about, "content": {json::JSON: {"schema": reference("Health")}}});
            ((*status).to_owned(), content)
        };
        let responses: Map<_, _> = statuses.iter().map(response).collect();
        let id = path.trim_start_matches('/');
        paths.insert(
            path.into(),
            json!({"get": {"operationId": id, "tags": ["health"], "summary": about, "responses": responses}}),
        );
    }
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "WebSocket Manager",
            "version": health::VERSION,
            "description": "Holds WebSocket connections in both directions. Errors are google.rpc.Status; field names are accepted in lowerCamelCase and in snake_case.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas.into_components()},
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let method = schemas.method(route.rpc.name());
    let names = path_names(route.path);
    let mut parameters: Vec<Value> = names.iter().map(|name| path_parameter(name)).collect();
    parameters.extend(
        route.query.iter().map(|param| query_parameter(param.name, param.about, param.kind, schemas)),
    );
    if route.rpc == Method::Receive {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": {"type": "string"},
            "description": "The cursor to go on from.",
        }));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route)],
        "summary": method.about,
        "parameters": parameters,
        "responses": responses(route, &method.output, schemas),
    });
    if route.body {
        let schema = schemas.request(&method.input, &names);
        operation["requestBody"] =
            json!({"required": false, "content": {json::JSON: {"schema": reference(&schema)}}});
    }
    operation
}

/// `{name}` parts of a path.
pub fn path_names(path: &'static str) -> Vec<&'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Unique: the second route of an RPC is told by its last word.
fn operation_id(route: &Route) -> String {
    let first = ROUTES.iter().find(|other| other.rpc == route.rpc);
    let name = route.rpc.name().replace('.', "");
    if first.is_some_and(|first| first.path == route.path && first.method == route.method) {
        return name;
    }
    let last = route.path.rsplit(['/', ':']).next().unwrap_or_default().replace('-', "_");
    format!("{name}_{last}")
}

fn tag(route: &Route) -> &'static str {
    match route.rpc.name() {
        "Send" | "SendBatch" | "SendRaw" => "send",
        "SetTag" | "GetTag" | "SetTags" | "GetTags" => "tags",
        "StartPublish" | "StopPublish" => "publish",
        "Receive" | "Watch" => "events",
        rpc if rpc.starts_with("Rooms.") => "rooms",
        _ => "connections",
    }
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema::path_value(name)})
}

fn query_parameter(name: &str, about: &str, kind: ParamKind, schemas: &mut Schemas) -> Value {
    let schema = match kind {
        ParamKind::Text => json!({"type": "string"}),
        ParamKind::Number { most } => {
            json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": most})
        }
        ParamKind::Long => json!({"type": "integer", "format": "uint64", "minimum": 0}),
        ParamKind::Flag => json!({"type": "boolean"}),
        ParamKind::Choice { of, repeated } => {
            let one = schemas.choice(of);
            if repeated { json!({"type": "array", "items": one, "maxItems": 16}) } else { one }
        }
        // The document cannot say "tag." and any name; an object, exploded, has its keys as they are.
        ParamKind::Tags => {
            return json!({
                "name": "tag.*", "in": "query", "required": false, "description": about,
                "style": "form", "explode": true,
                "schema": {"type": "object", "additionalProperties": false, "properties": {"tag.name": {"type": "string", "maxLength": 1024}}},
            });
        }
    };
    json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema})
}

/// What this route can answer; clients and fuzzers hold us to it.
pub fn statuses(route: &Route) -> Vec<u16> {
    let mut statuses = vec![200, 400, 401, 403, 404, 429, 431, 500, 501, 503];
    if route.body {
        statuses.extend([408, 413, 415]);
    }
    if matches!(
        route.rpc.name(),
        "Connect"
            | "Update"
            | "Disconnect"
            | "Send"
            | "SendBatch"
            | "SendRaw"
            | "StartPublish"
            | "Rooms.Send"
            | "Rooms.Broadcast"
            | "Rooms.SendToUser"
            | "Rooms.KickUser"
    ) {
        statuses.push(409);
    }
    if !matches!(route.shape, Shape::Events) {
        statuses.push(504);
    }
    statuses.sort_unstable();
    statuses
}

fn responses(route: &Route, output: &str, schemas: &mut Schemas) -> Value {
    let message = schemas.response(output);
    let answers = statuses(route).into_iter().map(|status| {
        let reason =
            StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let content = match (status, route.shape) {
            (200, Shape::Unary) => json!({json::JSON: {"schema": reference(&message)}}),
            (200, Shape::Events) => json!({"text/event-stream": {"schema": {
                "type": "string", "description": format!("Events whose data is {message} as JSON."),
            }}}),
            _ => json!({json::JSON: {"schema": reference("Status")}}),
        };
        // Said below the routes, before there is a request: without a body.
        let answer = if status == 431 {
            json!({"description": reason})
        } else {
            json!({"description": reason, "content": content})
        };
        (status.to_string(), answer)
    });
    Value::Object(answers.collect())
}
