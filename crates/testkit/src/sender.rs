//! The sender: exact bytes over real TLS, trusting the relay's private CA.

use crate::http::{Answer, End, Fields, Framing, Piece, Reader, field, fields};
use crate::soon;
use client::http::Trust;
use rustls_pki_types::ServerName;
use signature::{Catalogue, Secret, Unsigned};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes connections to a relay's public side.
#[derive(Clone, Debug)]
pub struct Sender {
    relay: SocketAddr,
    tls: rustls::ClientConfig,
}

impl Sender {
    /// Sends to `relay`, which has a certificate of `ca`.
    ///
    /// # Panics
    ///
    /// When the file holds no certificate.
    pub fn new(relay: SocketAddr, ca: &Path) -> Sender {
        let tls = Trust::only(ca)
            .and_then(|trust| trust.tls().map_err(|error| error.to_string()))
            .expect("the relay's CA");
        Sender { relay, tls }
    }

    /// A TLS connection for `host` that offers these protocols.
    ///
    /// # Panics
    ///
    /// When the relay does not take it.
    pub async fn tls(&self, host: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        soon("a TLS connection to the relay", async {
            let stream = TcpStream::connect(self.relay)
                .await
                .expect("the relay accepts");
            stream.set_nodelay(true).expect("a socket");
            TlsConnector::from(Arc::new(tls))
                .connect(name, stream)
                .await
        })
        .await
        .expect("the relay's certificate")
    }

    /// An HTTP/1 connection.
    pub async fn connect(&self) -> Wire {
        let stream = self.tls("shop.localhost", &["http/1.1"]).await;
        let (read, write) = tokio::io::split(stream);
        Wire {
            reader: Reader::new(read),
            write,
        }
    }

    /// Sends one request on a connection of its own; the answer.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut wire = self.connect().await;
        wire.write(&request).await;
        wire.answer_to(is_head(request.as_ref())).await
    }
}

fn is_head(request: &[u8]) -> bool {
    request.starts_with(b"HEAD ")
}

/// One HTTP/1 connection to the relay.
#[derive(Debug)]
pub struct Wire {
    reader: Reader<ReadHalf<TlsStream<TcpStream>>>,
    write: WriteHalf<TlsStream<TcpStream>>,
}

impl Wire {
    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// When the connection is lost.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the relay takes what is sent", self.try_write(bytes))
            .await
            .expect("the connection stands");
    }

    /// Sends bytes as far as they are taken, for as long as it takes.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.write.write_all(bytes.as_ref()).await?;
        self.write.flush().await
    }

    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        let _ = self.write.shutdown().await;
    }

    /// The next answer, to a request that was not a HEAD.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to(false).await
    }

    /// The next answer.
    ///
    /// # Panics
    ///
    /// When the connection ends before an answer's head, or the answer is no HTTP.
    pub async fn answer_to(&mut self, head_request: bool) -> Answer {
        let mut answer = self.head().await;
        let bodiless = head_request || matches!(answer.status, 101 | 204 | 304);
        if bodiless {
            return answer;
        }
        let framing = Framing::of(&answer.fields).unwrap_or(Framing::UntilClose);
        self.reader.begin(framing);
        soon("the end of an answer", async {
            loop {
                match self.reader.piece(framing).await {
                    Ok(Piece::Data(data)) => answer.body.extend_from_slice(&data),
                    Ok(Piece::End(trailers)) => {
                        answer.trailers = trailers;
                        return answer;
                    }
                    Err(_) => {
                        answer.end = End::Cut;
                        return answer;
                    }
                }
            }
        })
        .await
    }

    /// The next answer's head, with the 1xx before it, and no body yet.
    ///
    /// # Panics
    ///
    /// When the connection ends before it.
    pub async fn head(&mut self) -> Answer {
        let mut interim = Vec::new();
        loop {
            let head = soon("an answer's head", self.reader.head())
                .await
                .expect("the connection stands until there is an answer");
            let status: u16 = head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|status| status.parse().ok())
                .unwrap_or_else(|| panic!("no status line: {head}"));
            if status < 200 && status != 101 {
                interim.push(head);
                continue;
            }
            return Answer {
                status,
                fields: fields(&head),
                head,
                body: Vec::new(),
                trailers: Fields::new(),
                interim,
                end: End::Whole,
            };
        }
    }

    /// The next 1xx head.
    ///
    /// # Panics
    ///
    /// When the connection ends before it.
    pub async fn interim(&mut self) -> String {
        soon("a 1xx head", self.reader.head())
            .await
            .expect("the connection stands")
    }

    /// At least `n` raw bytes, as soon as they are there; all that are.
    ///
    /// # Panics
    ///
    /// When the connection ends before.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        soon("raw bytes from the relay", async {
            while self.reader.buf.len() < n {
                self.reader.fill().await.expect("the connection stands");
            }
        })
        .await;
        std::mem::take(&mut self.reader.buf)
    }

    /// Reads some more of a body and drops it; how many bytes. 0 at the end.
    pub async fn discard(&mut self) -> usize {
        let here = std::mem::take(&mut self.reader.buf).len();
        match here {
            0 => {
                let read = self.reader.fill().await.unwrap_or(0);
                self.reader.buf.clear();
                read
            }
            n => n,
        }
    }

    /// Waits until the relay closes; the bytes that came before.
    pub async fn closed(&mut self) -> Vec<u8> {
        soon("the relay closes the connection", async {
            while self.reader.fill().await.is_ok() {}
        })
        .await;
        std::mem::take(&mut self.reader.buf)
    }
}

/// A POST of this form body to `url`, signed as CloudVNO does.
///
/// # Panics
///
/// When `url` has no host.
pub fn cloudvno(url: &str, body: &str, secret: &str) -> String {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("cloudvno").expect("CloudVNO is known");
    let kind = "application/x-www-form-urlencoded";
    let signed = provider
        .sign(
            Unsigned {
                method: "POST",
                url,
                headers: &[(b"Content-Type", kind.as_bytes())],
                body: body.as_bytes(),
                id: "",
            },
            &Secret::new(secret.to_owned()),
            0,
        )
        .expect("CloudVNO signs forms");
    let rest = url.strip_prefix("https://").expect("a public URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: CloudVNO-Webhooks/1.0\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in &signed {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    assert!(field(&signed, "X-CloudVNO-Signature").is_some());
    format!("{request}\r\n{body}")
}
