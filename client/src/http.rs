//! A small HTTP/1.1 requester: what `send` uses towards an app or a tunnel, and the commands
//! towards a running client. One request a connection, answers bounded.

use bytes::{Bytes, BytesMut};
use proxy::http1::{BodyDecoder, BodyPart, parse_response, put_field, put_request_line};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read, in bytes. The rest is cut, and [`Response::is_cut`] says so.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// An `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether over TLS.
    pub tls: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as written: what goes into Host.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub target: String,
}

impl Url {
    /// Reads a URL; the fragment is dropped, user information refused.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Url, String> {
        let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(format!("{text:?} does not begin with http:// or https://"));
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let bad = || format!("{text:?} has no usable host");
        let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
            let (host, port) = inner.split_once(']').ok_or_else(bad)?;
            (host, port.strip_prefix(':'))
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || !host.chars().all(fits) {
            return Err(bad());
        }
        let port = match port {
            None | Some("") => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .map_err(|_| format!("{text:?} has no usable port"))?,
        };
        if !target.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(format!(
                "{text:?} has characters that must be percent-encoded"
            ));
        }
        let target = match target.as_bytes().first() {
            None => String::from("/"),
            Some(b'?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        Ok(Url {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            target,
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.target)
    }
}

/// Which certificates are trusted: those of the web, and private CAs beside them.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<rustls::RootCertStore>,
}

impl Trust {
    /// The web's CAs (Mozilla's list).
    pub fn web() -> Trust {
        Trust {
            roots: Arc::new(rustls::RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }),
        }
    }

    /// Only the certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong with the file.
    pub fn only(path: &Path) -> Result<Trust, String> {
        let mut roots = rustls::RootCertStore::empty();
        add(&mut roots, path)?;
        Ok(Trust {
            roots: Arc::new(roots),
        })
    }

    /// These and those of a PEM file.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong with the file.
    pub fn and(&self, path: &Path) -> Result<Trust, String> {
        let mut roots = (*self.roots).clone();
        add(&mut roots, path)?;
        Ok(Trust {
            roots: Arc::new(roots),
        })
    }

    /// A TLS configuration that trusts these.
    ///
    /// # Errors
    ///
    /// When the crypto provider lacks what TLS needs.
    pub fn tls(&self) -> Result<rustls::ClientConfig, rustls::Error> {
        Ok(rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(&self.roots))
        .with_no_client_auth())
    }
}

fn add(roots: &mut rustls::RootCertStore, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{shown}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{shown} holds no certificate in PEM form"));
    }
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("{shown}: {error}"))?;
    }
    Ok(())
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Where to.
    pub url: Url,
    /// Fields besides Host, Content-Length and Connection.
    pub fields: Vec<(String, String)>,
    /// The body; Content-Length is sent when it is not empty or the method is POST.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The fields, framing fields left out.
    pub fields: wire::Fields,
    /// The body.
    pub body: Bytes,
    /// Whether the body was longer than what is read.
    pub is_cut: bool,
}

impl Response {
    /// The first value of a field, as text.
    pub fn field(&self, name: &str) -> Option<String> {
        proxy::headers::first(&self.fields, name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The name has no address.
    #[error("{0} has no address")]
    Resolve(String, #[source] io::Error),
    /// Nothing listens there.
    #[error("nothing listens on {0}")]
    Connect(String, #[source] io::Error),
    /// TLS failed, most often for a certificate that is not trusted.
    #[error("no TLS with {0}")]
    Tls(String, #[source] io::Error),
    /// The connection failed after the request had begun.
    #[error("the connection failed before the answer was complete")]
    Lost(#[source] io::Error),
    /// What came is no HTTP answer.
    #[error("the answer is not valid HTTP: {0}")]
    Malformed(#[from] proxy::http1::Refusal),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Sends a request and reads the answer, all within `limit`.
///
/// # Errors
///
/// [`RequestError`].
pub async fn request(
    request: &Request,
    trust: &Trust,
    limit: Duration,
) -> Result<Response, RequestError> {
    let exchanged = async {
        let stream = connect(&request.url).await?;
        if !request.url.tls {
            return exchange(stream, request).await;
        }
        let authority = || request.url.authority.clone();
        let failed = |error| RequestError::Tls(authority(), error);
        let mut config = trust
            .tls()
            .map_err(|error| failed(io::Error::other(error)))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(request.url.host.clone())
            .map_err(|error| failed(io::Error::other(error)))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(failed)?;
        exchange(stream, request).await
    };
    tokio::time::timeout(limit, exchanged)
        .await
        .unwrap_or(Err(RequestError::Timeout(limit)))
}

async fn connect(url: &Url) -> Result<TcpStream, RequestError> {
    // RFC 6761, 6.3: names under localhost are this machine, whatever a resolver says.
    let is_local = url.host == "localhost" || url.host.ends_with(".localhost");
    let host = if is_local { "localhost" } else { &url.host };
    let addresses: Vec<_> = tokio::net::lookup_host((host, url.port))
        .await
        .map_err(|error| RequestError::Resolve(url.host.clone(), error))?
        .collect();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(RequestError::Connect(
        format!("{}:{}", url.host, url.port),
        last,
    ))
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &Request,
) -> Result<Response, RequestError> {
    let mut out = BytesMut::new();
    put_request_line(
        request.method.as_bytes(),
        request.url.target.as_bytes(),
        &mut out,
    );
    put_field(b"Host", request.url.authority.as_bytes(), &mut out);
    for (name, value) in &request.fields {
        put_field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    if !request.body.is_empty() || request.method == "POST" {
        put_field(
            b"Content-Length",
            request.body.len().to_string().as_bytes(),
            &mut out,
        );
    }
    put_field(b"Connection", b"close", &mut out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request.body);
    // An answer may come before the request's end: a failed write is not yet a failed request.
    let written = async {
        stream.write_all(&out).await?;
        stream.flush().await
    }
    .await;

    let mut buf = BytesMut::new();
    let (head, mut decoder) = loop {
        match parse_response(&mut buf, request.method == "HEAD")? {
            Some(response) if response.head.status >= 200 => {
                break (response.head, response.body);
            }
            Some(_) => continue,
            None => {}
        }
        match stream.read_buf(&mut buf).await {
            Ok(1..) => {}
            Ok(0) => {
                let ended = io::ErrorKind::UnexpectedEof.into();
                return Err(RequestError::Lost(written.err().unwrap_or(ended)));
            }
            Err(error) => return Err(RequestError::Lost(written.err().unwrap_or(error))),
        }
    };
    let (body, is_cut) = read_body(&mut stream, &mut buf, &mut decoder).await?;
    Ok(Response {
        status: head.status,
        fields: head.fields,
        body,
        is_cut,
    })
}

async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
    decoder: &mut BodyDecoder,
) -> Result<(Bytes, bool), RequestError> {
    let mut body = BytesMut::new();
    loop {
        match decoder.next(buf)? {
            Some(BodyPart::Data(data)) => {
                if body.len() + data.len() > MAX_ANSWER {
                    return Ok((body.freeze(), true));
                }
                body.extend_from_slice(&data);
            }
            Some(BodyPart::End(_)) => return Ok((body.freeze(), false)),
            None => match stream.read_buf(buf).await {
                Ok(1..) => {}
                // Without close_notify rustls reports the end as an error; a body of known
                // length was complete by then.
                Ok(0) | Err(_) => match decoder.end_of_input() {
                    Ok(_) => return Ok((body.freeze(), false)),
                    Err(_) => {
                        return Err(RequestError::Lost(io::ErrorKind::UnexpectedEof.into()));
                    }
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("https://a.localhost:8443/webhook?x=1#frag").unwrap();
        assert!(url.tls);
        assert_eq!((url.host.as_str(), url.port), ("a.localhost", 8443));
        assert_eq!(url.authority, "a.localhost:8443");
        assert_eq!(url.target, "/webhook?x=1");
        assert_eq!(Url::parse("http://h?x").unwrap().target, "/?x");
        assert_eq!(Url::parse("http://[::1]:80/").unwrap().host, "::1");
        for bad in [
            "h",
            "ftp://h",
            "http://",
            "http://u:p@h/",
            "http://h:x/",
            "http://h/a b",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
