//! Who may come in: this machine's names, this page, and whoever holds the token.

use crate::state::Running;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Puts the door before every route of `router`.
pub(super) fn guard(router: Router, running: &Running) -> Router {
    router.layer(from_fn_with_state(Arc::new(Door::new(running)), check))
}

/// What is checked of every request.
struct Door {
    hosts: Vec<String>,
    token: String,
    /// The cookie that a browser holds after it came with the token. Browsers keep cookies by host
    /// and not by port: without the port in its name, a second client's inspector would take the
    /// first one's place.
    cookie: String,
}

impl Door {
    fn new(running: &Running) -> Door {
        let port = running.address.port();
        let mut hosts: Vec<String> = ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .map(|h| format!("{h}:{port}"))
            .collect();
        hosts.push(running.address.to_string());
        Door {
            hosts,
            token: running.token.clone(),
            cookie: format!("adit_inspector_{port}"),
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
            .filter_map(|cookie| cookie.trim().strip_prefix(&*self.cookie)?.strip_prefix('='))
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

    /// What is answered instead of serving `request`; `None` when it may come in.
    fn refusal(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let known =
            host.is_some_and(|host| self.hosts.iter().any(|k| k.eq_ignore_ascii_case(host)));
        if !known || hosts.next().is_some() {
            return refuse(
                StatusCode::MISDIRECTED_REQUEST,
                "this inspector is not served under that name",
            );
        }
        if self.is_foreign(headers) {
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
            && self.is_token(token)
        {
            // The token leaves the address bar for a cookie that scripts cannot read.
            let cookie = format!("{}={token}; HttpOnly; SameSite=Strict; Path=/", self.cookie);
            let fields = [
                (header::LOCATION, String::from("/")),
                (header::SET_COOKIE, cookie),
            ];
            return Some((StatusCode::SEE_OTHER, fields).into_response());
        }
        if !self.holds_token(headers) {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "open the inspector with the link that the client prints: it carries the token",
            );
        }
        None
    }
}

async fn check(
    State(door): State<Arc<Door>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let mut response = match door.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    protect(response.headers_mut());
    response
}

fn refuse(status: StatusCode, why: &'static str) -> Option<Response<Body>> {
    Some((status, format!("{why}\n")).into_response())
}

fn protect(headers: &mut HeaderMap) {
    const FIELDS: [(header::HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            // Trusted types: text cannot become markup, not even by a mistake in the script.
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    const TOKEN: &str = "0123456789abcdef";

    #[tokio::test]
    async fn an_unknown_host_is_refused_whatever_it_holds() {
        let door = Served::spawn().await;
        for host in [
            "attacker.example",
            "127.0.0.1",
            "127.0.0.1:1",
            "localhost.attacker.example:4040",
        ] {
            let answer = door
                .ask(&format!(
                    "GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\n",
                    door.cookie()
                ))
                .await;
            assert_eq!(answer.status, 421, "{host}");
            assert!(!answer.text.contains("the page"), "{host}");
        }
    }

    #[tokio::test]
    async fn two_hosts_are_refused() {
        let door = Served::spawn().await;
        let host = &door.host;
        for second in [host.as_str(), "attacker.example"] {
            let answer = door
                .ask(&format!(
                    "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {second}\r\nCookie: {}\r\n",
                    door.cookie()
                ))
                .await;
            assert_eq!(answer.status, 421, "{second}");
        }
    }

    #[tokio::test]
    async fn every_name_of_this_machine_is_known() {
        let door = Served::spawn().await;
        let port = door.port;
        for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
            let answer = door
                .ask(&format!(
                    "GET / HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {}\r\n",
                    door.cookie()
                ))
                .await;
            assert_eq!(answer.status, 200, "{host}");
        }
    }

    #[tokio::test]
    async fn requests_of_other_sites_are_refused() {
        let door = Served::spawn().await;
        let port = door.port;
        for field in [
            String::from("Origin: https://attacker.example"),
            String::from("Origin: null"),
            // The developer's own app is another site than the inspector.
            String::from("Origin: http://127.0.0.1:3000"),
            format!("Origin: https://127.0.0.1:{port}"),
            String::from("Sec-Fetch-Site: cross-site"),
            String::from("Sec-Fetch-Site: same-site"),
        ] {
            for line in ["GET /", "POST /replay", "GET /?token=0123456789abcdef"] {
                let answer = door.get_in(line, &field).await;
                assert_eq!(answer.status, 403, "{line} {field}");
                assert!(!answer.text.to_ascii_lowercase().contains("set-cookie"));
            }
        }
    }

    #[tokio::test]
    async fn the_page_itself_may_ask() {
        let door = Served::spawn().await;
        let origin = format!(
            "Origin: http://{}\r\nSec-Fetch-Site: same-origin",
            door.host
        );
        let answer = door.get_in("POST /replay", &origin).await;
        assert_eq!(answer.status, 200);
        let typed = door.get_in("GET /", "Sec-Fetch-Site: none").await;
        assert_eq!(typed.status, 200);
    }

    #[tokio::test]
    async fn without_the_token_nothing_is_shown() {
        let door = Served::spawn().await;
        let cookie = door.cookie();
        let other_port = format!("Cookie: adit_inspector_1={TOKEN}");
        for field in [
            "Accept: */*",
            "Cookie: adit_inspector=",
            &other_port,
            &format!("Cookie: {}", &cookie[..cookie.len() - 1]),
            &format!("Cookie: {cookie}0"),
            "Authorization: Bearer",
            "Authorization: Bearer 0123456789abcdee",
            "Authorization: Basic 0123456789abcdef",
        ] {
            let host = &door.host;
            let answer = door
                .ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{field}\r\n"))
                .await;
            assert_eq!(answer.status, 401, "{field}");
            assert!(!answer.text.contains("the page"), "{field}");
        }
    }

    #[tokio::test]
    async fn a_command_comes_in_with_a_bearer_token() {
        let door = Served::spawn().await;
        let host = &door.host;
        let answer = door
            .ask(&format!(
                "POST /replay HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
            ))
            .await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn the_printed_link_becomes_a_cookie() {
        let door = Served::spawn().await;
        let host = &door.host;
        let link = door
            .ask(&format!(
                "GET /?token={TOKEN} HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: none\r\n"
            ))
            .await;
        assert_eq!(link.status, 303);
        assert_eq!(link.field("location"), Some("/"));
        assert_eq!(link.field("cache-control"), Some("no-store"));
        let cookie = link.field("set-cookie").expect("a cookie");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let cookie = cookie.split(';').next().expect("its first part");
        let page = door
            .ask(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nCookie: theme=dark; {cookie}\r\n"
            ))
            .await;
        assert_eq!(page.status, 200);

        let wrong = door
            .ask(&format!("GET /?token=wrong HTTP/1.1\r\nHost: {host}\r\n"))
            .await;
        assert_eq!(wrong.status, 401);
        assert_eq!(wrong.field("set-cookie"), None);
    }

    #[tokio::test]
    async fn every_answer_is_protected() {
        let door = Served::spawn().await;
        for (line, field) in [
            ("GET /", "Accept: */*"),
            ("GET /", "Sec-Fetch-Site: cross-site"),
            ("GET /nothing", "Accept: */*"),
        ] {
            let answer = door.get_in(line, field).await;
            let policy = answer.field("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
            assert_eq!(answer.field("access-control-allow-origin"), None);
        }
    }

    /// A router behind the door, on a port of its own.
    struct Served {
        host: String,
        port: u16,
        _task: JoinSet<()>,
    }

    struct Answer {
        status: u16,
        text: String,
    }

    impl Served {
        async fn spawn() -> Served {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let running = Running {
                address,
                token: String::from(TOKEN),
                pid: 1,
                name: None,
                url: None,
                origin: String::new(),
                ca: None,
            };
            let router = Router::new()
                .route("/", get(|| async { "the page" }))
                .route("/replay", post(|| async { "done" }));
            let router = guard(router, &running);
            let mut task = JoinSet::new();
            task.spawn(async move { axum::serve(listener, router).await.unwrap() });
            Served {
                host: address.to_string(),
                port: address.port(),
                _task: task,
            }
        }

        fn cookie(&self) -> String {
            format!("adit_inspector_{}={TOKEN}", self.port)
        }

        /// `line` such as `GET /`, from a browser that holds the cookie, with one more field.
        async fn get_in(&self, line: &str, field: &str) -> Answer {
            let host = &self.host;
            let cookie = self.cookie();
            self.ask(&format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{field}\r\n"
            ))
            .await
        }

        async fn ask(&self, head: &str) -> Answer {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let request = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            let status = text.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, text }
        }
    }

    impl Answer {
        fn field(&self, name: &str) -> Option<&str> {
            let head = self.text.split("\r\n\r\n").next()?;
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        }
    }
}
