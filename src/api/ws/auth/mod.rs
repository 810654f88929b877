//! Who comes in: anybody, the bearer of a token, or whom the operator's authoriser lets in.

mod authoriser;
mod token;

pub use authoriser::AuthoriserSettings;
pub use token::TokenSettings;

use self::{
    authoriser::{Authoriser, Verdict},
    token::Verifier,
};
use super::{IngressSettings, Offer, Refused};
use crate::{
    api::{counters::WsRefusal, json::Refusal},
    core::{
        names::RoomName,
        reason::{Fault, FaultKind},
        rooms::{Access, request, route::Auth},
        spec::Tags,
        token::Claims,
    },
    limits,
};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use std::{sync::Arc, time::Duration};

/// What lets somebody in, and how far.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    pub user: Option<Arc<str>>,
    pub tags: Tags,
    pub valid_for: Option<Duration>,
    /// Rooms that the URL may name.
    pub reach: Access,
    /// Rooms that the credentials name.
    pub joins: Vec<RoomName>,
    /// Also when the URL names some.
    pub joins_beside: bool,
    /// Rooms that may be joined later.
    pub may_join: Access,
}

pub struct Guards {
    usual: Auth,
    verifier: Option<Verifier>,
    token_in_query: bool,
    authoriser: Option<Authoriser>,
}

impl Guards {
    pub fn new(settings: &IngressSettings) -> Result<Self, String> {
        Ok(Guards {
            usual: settings.auth,
            verifier: settings.token.as_ref().map(Verifier::open).transpose()?,
            token_in_query: settings.token_in_query,
            authoriser: settings.authoriser.as_ref().map(Authoriser::new).transpose()?,
        })
    }

    pub async fn judge(&self, auth: Option<Auth>, parts: &Parts, offer: &Offer) -> Result<Pass, Refused> {
        match auth.unwrap_or(self.usual) {
            Auth::Open => Ok(Pass { reach: Access::Any, may_join: Access::Any, ..Pass::default() }),
            Auth::Token => self.by_token(parts, offer),
            Auth::Authoriser => self.by_authoriser(parts).await,
        }
    }

    fn by_token(&self, parts: &Parts, offer: &Offer) -> Result<Pass, Refused> {
        let token = self.token(parts, offer)?.ok_or_else(|| unauthenticated("a token is needed"))?;
        let verifier = self.verifier.as_ref().ok_or_else(|| unauthenticated("no keys are configured"))?;
        let claims = verifier.judge(&token).map_err(|refused| unauthenticated(refused.to_string()))?;
        Ok(of_claims(claims))
    }

    /// From the one place where it stands.
    fn token(&self, parts: &Parts, offer: &Offer) -> Result<Option<String>, Refused> {
        let mut found = Vec::new();
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let scheme_and_token = value.to_str().ok().and_then(|text| text.split_once(' '));
            match scheme_and_token {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    found.push(token.trim().to_owned());
                }
                _ => return Err(unauthenticated("authorization must be: Bearer, a space, the token")),
            }
        }
        found.extend(offer.bearer.as_ref().map(|token| token.expose().clone()));
        if self.token_in_query {
            found.extend(request::token(parts.uri.query().unwrap_or_default())?);
        }
        if found.len() > 1 {
            return Err(
                Fault::invalid("authorization", "the token is given in two places; give it once").into()
            );
        }
        Ok(found.pop())
    }

    async fn by_authoriser(&self, parts: &Parts) -> Result<Pass, Refused> {
        let unavailable = || {
            let fault = Fault::new(FaultKind::Unavailable, "who comes in cannot be judged now");
            Refused::new(WsRefusal::AuthoriserFailed, Refusal::from(fault))
        };
        let authoriser = self.authoriser.as_ref().ok_or_else(unavailable)?;
        match authoriser.ask(parts).await {
            Verdict::In(pass) => Ok(*pass),
            Verdict::Out { status, content_type, body } => {
                let mut answer = Response::new(Body::from(body));
                *answer.status_mut() = status;
                let headers = answer.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                if let Some(content_type) = content_type {
                    headers.insert(header::CONTENT_TYPE, content_type);
                }
                Err(Refused::as_is(WsRefusal::Authoriser, answer))
            }
            Verdict::Full => {
                let fault = Fault::full("too many clients come in at once", limits::ADMIT_RETRY);
                let refusal = Refusal { http: StatusCode::SERVICE_UNAVAILABLE, fault };
                Err(Refused::new(WsRefusal::Full, refusal))
            }
            Verdict::Failed => Err(unavailable()),
        }
    }
}

fn of_claims(claims: Claims) -> Pass {
    let names = claims.rooms.iter().filter(|name| !name.ends_with('*'));
    let joins = names.filter_map(|name| RoomName::parse("rooms", name).ok()).collect();
    let reach = Access::Only(claims.rooms.into());
    Pass {
        user: claims.user.map(Into::into),
        tags: claims.tags,
        valid_for: Some(claims.valid_for),
        may_join: reach.clone(),
        reach,
        joins,
        joins_beside: false,
    }
}

fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    let refusal = Refusal::from(Fault::new(FaultKind::Unauthenticated, message));
    let refused = Refused::new(WsRefusal::Credentials, refusal);
    refused.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
