//! The token endpoint, GET with Basic credentials and OAuth2 POST.
//!
//! Source: distribution `docs/content/spec/auth/token.md` and `oauth.md`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue,
    header::{CACHE_CONTROL, WWW_AUTHENTICATE},
    request::Parts,
};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{query::Query, refused};
use crate::{
    auth::{AuthError, Grant, SERVICE, Scope, User},
    db::Visibility,
    error::ApiError,
    service::Service,
};

/// Life of a token: long enough for most pushes, short enough for a lost one.
const LIFETIME: Duration = Duration::from_secs(300);
/// Largest form, in bytes.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What a client asks for.
struct Wanted {
    scopes: Vec<Scope>,
    client_id: String,
    /// A refresh token besides.
    offline: bool,
}

pub(super) async fn get(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = from_query(&service, &parts).await;
    recorded(&service, &parts, result)
}

pub(super) async fn post(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = from_form(&service, &parts, body).await;
    recorded(&service, &parts, result)
}

fn recorded(service: &Arc<Service>, parts: &Parts, result: Result<Response, ApiError>) -> Response {
    let mut response = result.unwrap_or_else(|mut error| {
        // Here a Bearer challenge would send clients in circles.
        let basic = HeaderValue::from_static("Basic realm=\"carrack\"");
        for (name, value) in &mut error.headers {
            if *name == WWW_AUTHENTICATE {
                value.clone_from(&basic);
            }
        }
        error.into_response()
    });
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let endpoint = match parts.method == http::Method::POST {
        true => "token_post",
        false => "token_get",
    };
    service
        .metrics
        .record(endpoint, response.status().as_u16(), 0.0);
    response
}

async fn from_query(service: &Arc<Service>, parts: &Parts) -> Result<Response, ApiError> {
    let query = Query::of(parts);
    check_service(query.get("service"))?;
    let user = match basic_user(service, parts).await {
        Ok(user) => user,
        Err(error) => return Err(refused(service, &parts.headers, None, error)),
    };
    let wanted = Wanted {
        scopes: Scope::parse_all(query.all("scope")),
        client_id: query.get("client_id").unwrap_or("").to_owned(),
        offline: query.get("offline_token") == Some("true"),
    };
    answer(service, parts, user, wanted, None).await
}

async fn from_form(
    service: &Arc<Service>,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| {
            ApiError::bad(
                "UNSUPPORTED",
                format!("the form must be complete and at most {FORM_BYTES_MAX} bytes"),
            )
        })?;
    let form: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    check_service(Some(field("service")).filter(|service| !service.is_empty()))?;
    let (login, given) = match field("grant_type") {
        "password" => (
            service
                .auth
                .login(field("username"), field("password"))
                .await,
            None,
        ),
        "refresh_token" => {
            let token = field("refresh_token");
            (service.auth.refresh(token).await, Some(token.to_owned()))
        }
        _ => {
            return Err(ApiError::bad(
                "UNSUPPORTED",
                "grant_type must be password or refresh_token",
            ));
        }
    };
    let user = login.map_err(|error| refused(service, &parts.headers, None, error))?;
    let wanted = Wanted {
        scopes: Scope::parse_all([field("scope")]),
        client_id: field("client_id").to_owned(),
        offline: field("access_type") == "offline",
    };
    answer(service, parts, Some(user), wanted, given).await
}

async fn basic_user(service: &Arc<Service>, parts: &Parts) -> Result<Option<Arc<User>>, AuthError> {
    let caller = service.auth.caller(&parts.headers).await?;
    match caller.into_user() {
        Some(user) => Ok(Some(user)),
        None if parts.headers.contains_key(http::header::AUTHORIZATION) => {
            // A token cannot be turned into another one.
            Err(AuthError::BadHeader)
        }
        None => Ok(None),
    }
}

fn check_service(asked: Option<&str>) -> Result<(), ApiError> {
    match asked {
        None | Some(SERVICE) => Ok(()),
        Some(_) => Err(ApiError::bad(
            "UNSUPPORTED",
            format!("this registry issues tokens for service {SERVICE:?} only"),
        )),
    }
}

async fn answer(
    service: &Arc<Service>,
    parts: &Parts,
    user: Option<Arc<User>>,
    wanted: Wanted,
    given_refresh_token: Option<String>,
) -> Result<Response, ApiError> {
    let grants = grants(service, user.as_deref(), &wanted.scopes).await?;
    let scope: Vec<String> = grants.iter().map(Grant::to_scope).collect();
    let token = service.auth.issue(user.as_deref(), grants, LIFETIME);
    let issued_at = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut body = json!({
        "token": token,
        "access_token": token,
        "expires_in": LIFETIME.as_secs(),
        "issued_at": issued_at,
        "scope": scope.join(" "),
    });
    let refresh_token = match (user, given_refresh_token) {
        (_, Some(given)) => Some(given),
        (Some(user), None) if wanted.offline => {
            let made = service
                .auth
                .create_refresh_token(&user, &wanted.client_id)
                .await;
            Some(made.map_err(|error| refused(service, &parts.headers, None, error))?)
        }
        _ => None,
    };
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = refresh_token.into();
    }
    let mut response = axum::Json(body).into_response();
    response.headers_mut().insert(
        HeaderName::from_static("pragma"),
        HeaderValue::from_static("no-cache"),
    );
    Ok(response)
}

/// The intersection of what was asked and what the user may.
async fn grants(
    service: &Arc<Service>,
    user: Option<&User>,
    scopes: &[Scope],
) -> Result<Vec<Grant>, ApiError> {
    let mut grants: Vec<Grant> = Vec::new();
    for scope in scopes {
        let is_public = match scope {
            Scope::Repository(repo, _) => service
                .db
                .repository(repo)
                .await?
                .is_some_and(|row| row.visibility == Visibility::Public),
            Scope::Catalog => false,
        };
        grants.extend(scope.grant(user, is_public));
    }
    Ok(grants)
}
