//! Where WebSocket clients come in: an opening handshake is checked, its client judged, its
//! connection admitted on the shard that will own it, and only then answered with 101.
//!
//! The order of the checks is from the cheap to the dear: the handshake itself, what its URL asks
//! for, whose page asks, who asks, and the shard last. What stands in `X-Forwarded-For` is believed
//! nowhere.

mod admission;
mod auth;
mod handshake;
mod place;
mod refused;
mod spec;
mod upgrade;

#[cfg(test)]
mod tests;

pub use admission::{Admission, Admitted};
pub use auth::{AuthoriserSettings, TokenSettings};

use self::{auth::Guards, handshake::Offer, refused::Refused, spec::Specs};
use super::{
    caller,
    counters::{WsCounters, WsRefusal},
    http::unknown_route,
    json::Refusal,
    serve::Peer,
    service::Service,
};
use crate::{
    core::{
        io::Context,
        origin::{Origin, Origins},
        reason::{Fault, FaultKind},
        rooms::{
            request::Asked,
            route::{Auth, Filled, Found, Route, Routes},
        },
    },
    limits,
};
use axum::body::Body;
use http::{Request, Response, header, request::Parts};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use tokio::time::timeout;

/// What the operator says of those who come in.
#[derive(Clone, Default)]
pub struct IngressSettings {
    pub routes: Vec<Route>,
    /// Where a route says nothing else.
    pub auth: Auth,
    pub origins: Origins,
    pub token: Option<TokenSettings>,
    /// A token may stand in the URL.
    pub token_in_query: bool,
    pub authoriser: Option<AuthoriserSettings>,
    pub counters: Arc<WsCounters>,
}

/// One for each shard's thread.
#[derive(Clone)]
pub struct Ingress(Arc<Inner>);

struct Inner {
    routes: Routes,
    origins: Origins,
    guards: Guards,
    specs: Specs,
    admission: Arc<dyn Admission>,
    counters: Arc<WsCounters>,
}

impl Ingress {
    /// Fails when the keys or the authoriser's URL cannot be used: a bad configuration.
    pub fn new(service: &Service, settings: IngressSettings) -> Result<Self, String> {
        Ingress::over(Arc::new(service.clone()), settings)
    }

    /// Over whatever admits connections.
    pub fn over(admission: Arc<dyn Admission>, settings: IngressSettings) -> Result<Self, String> {
        let specs = Specs::new(admission.settings());
        let guards = Guards::new(&settings)?;
        Ok(Ingress(Arc::new(Inner {
            routes: Routes::new(settings.routes),
            origins: settings.origins,
            guards,
            specs,
            admission,
            counters: settings.counters,
        })))
    }

    /// Answers what no other route of the port takes.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let inner = &*self.0;
        let (parts, body) = request.into_parts();
        let Some(found) = inner.routes.find(parts.uri.path()) else { return unknown_route().await };
        // What stands behind the head must belong to the WebSocket, so there may be no body.
        let bodiless = body.size_hint().exact() == Some(0);
        match inner.come_in(found, parts, bodiless).await {
            Ok(response) => {
                inner.counters.accepted.add();
                response
            }
            Err(refused) => {
                inner.counters.refused(refused.reason).add();
                refused.into_response()
            }
        }
    }
}

impl Inner {
    async fn come_in(
        &self,
        found: Found<'_>,
        mut parts: Parts,
        bodiless: bool,
    ) -> Result<Response<Body>, Refused> {
        let offer = handshake::check(&parts, bodiless)?;
        let filled = found.decoded()?;
        let asked = Asked::parse(parts.uri.query().unwrap_or_default())?;
        let wanted = place::wanted(&filled, &asked)?;
        let tls = parts.extensions.get::<Peer>().is_some_and(|peer| peer.tls);
        self.judge_origin(&filled, &parts, tls)?;
        let pass = self.guards.judge(filled.route.auth, &parts, &offer).await?;
        let spec = self.specs.of(tls, &parts)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade =
            upgrade.ok_or_else(|| Fault::new(FaultKind::Internal, "this request has no connection"))?;
        let user = pass.user.clone();
        let admit = place::admit(&filled, &asked, wanted, pass, &offer, spec, || self.admission.mint())?;
        let (id, subprotocol) = (admit.id.clone(), admit.subprotocol.clone());
        let trace = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let trace = trace.and_then(caller::traceparent).map(Into::into);
        let context = Context { principal: user, deadline: None, trace };
        let admitted = timeout(limits::ADMIT_WAIT, self.admission.admit(context, Box::new(admit)));
        let socket = match admitted.await {
            Ok(admitted) => admitted.map_err(Refused::of_shard)?,
            Err(_) => {
                let fault = Fault::new(FaultKind::Unavailable, "the connection was not taken in in time");
                return Err(Refused::of_shard(fault));
            }
        };
        upgrade::hand_over(upgrade, self.admission.clone(), id, socket, self.counters.clone());
        Ok(upgrade::switching(&offer, subprotocol.as_deref()))
    }

    fn judge_origin(&self, filled: &Filled<'_>, parts: &Parts, tls: bool) -> Result<(), Refused> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = host.and_then(|host| Origin::of_host(tls, host));
        let origins = filled.route.origins.as_ref().unwrap_or(&self.origins);
        let given = parts.headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
        if origins.admit(given, own.as_ref()) {
            return Ok(());
        }
        let fault = Fault {
            field: "origin".into(),
            ..Fault::new(
                FaultKind::Forbidden,
                "pages of this origin may not open WebSockets here; see ws_origin",
            )
        };
        Err(Refused::new(WsRefusal::Origin, Refusal::from(fault)))
    }
}

/// The subprotocol that is spoken, of those that the client offers, best first.
fn choose<'a>(offer: &'a Offer, route: &Route) -> Option<&'a str> {
    let known =
        |name: &str| name == limits::ROOMS_SUBPROTOCOL || route.subprotocols.iter().any(|it| **it == *name);
    offer.subprotocols.iter().map(String::as_str).find(|name| known(name))
}
