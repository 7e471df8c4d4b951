//! Who may come in.

use crate::state::Running;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The cookie that a browser holds after it came with the token.
const COOKIE: &str = "adit_inspector";

/// What is checked of every request.
#[derive(Debug)]
pub(super) struct Door {
    hosts: Vec<String>,
    token: String,
}

impl Door {
    pub(super) fn new(running: &Running) -> Door {
        let port = running.address.port();
        let mut hosts: Vec<String> = ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .map(|h| format!("{h}:{port}"))
            .collect();
        hosts.push(running.address.to_string());
        Door {
            hosts,
            token: running.token.clone(),
        }
    }

    fn is_token(&self, text: &str) -> bool {
        bool::from(text.as_bytes().ct_eq(self.token.as_bytes()))
    }

    fn holds_token(&self, headers: &HeaderMap) -> bool {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let cookies = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|v| v.to_str().ok());
        let cookie = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .any(|cookie| self.is_token(cookie));
        bearer.is_some_and(|token| self.is_token(token)) || cookie
    }

    /// Another site's page is asking (a form, a script, an image).
    fn is_foreign(&self, headers: &HeaderMap) -> bool {
        let text = |name| {
            headers
                .get(name)
                .map(|v: &HeaderValue| v.to_str().unwrap_or("?"))
        };
        let site = text(header::HeaderName::from_static("sec-fetch-site"));
        let origin = text(header::ORIGIN);
        site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
            || origin.is_some_and(|origin| {
                !self
                    .hosts
                    .iter()
                    .any(|host| origin == format!("http://{host}"))
            })
    }
}

pub(super) async fn check(
    State(door): State<Arc<Door>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let known = host.is_some_and(|host| door.hosts.iter().any(|k| k.eq_ignore_ascii_case(host)));
    if !known || hosts.next().is_some() {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this inspector is not served under that name",
        );
    }
    if door.is_foreign(headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "requests from other sites are refused",
        );
    }
    let token = request.uri().query().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))
    });
    if let Some(token) = token
        && request.method() == Method::GET
        && door.is_token(token)
    {
        // The token leaves the address bar for a cookie that scripts cannot read.
        let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
        let fields = [
            (header::LOCATION, String::from("/")),
            (header::SET_COOKIE, cookie),
            (header::CACHE_CONTROL, String::from("no-store")),
        ];
        return (StatusCode::SEE_OTHER, fields).into_response();
    }
    if !door.holds_token(headers) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "open the inspector with the link that the client prints: it carries the token",
        );
    }
    let mut response = next.run(request).await;
    protect(response.headers_mut());
    response
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = (status, format!("{why}\n")).into_response();
    protect(response.headers_mut());
    response
}

fn protect(headers: &mut HeaderMap) {
    const FIELDS: [(header::HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
