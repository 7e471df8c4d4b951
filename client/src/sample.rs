//! The demo's app and its sender: an app that fails now and then, and everything that can come.

use crate::events;
use crate::http::{Request, Trust, Url, request};
use crate::sender::Sender;
use bytes::{Bytes, BytesMut};
use proxy::http1::{BodyDecoder, BodyPart, Minor, parse_request, put_field, put_status_line};
use signature::{Catalogue, Schedule, Secret};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Requests of the sample app are small.
const MOST: usize = 1024 * 1024;

/// An app that takes webhooks on loopback: mostly well, every fourth time not, and once slowly.
/// Ends when dropped.
#[derive(Debug)]
pub struct SampleApp {
    /// Where it listens.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl SampleApp {
    /// Starts it on a free port.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn spawn() -> std::io::Result<SampleApp> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let count = Arc::new(AtomicU32::new(0));
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = connections.join_next(), if !connections.is_empty() => {}
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let count = Arc::clone(&count);
                        connections.spawn(async move {
                            let _ = serve(stream, &count).await;
                        });
                    }
                }
            }
        });
        Ok(SampleApp {
            address,
            _tasks: tasks,
        })
    }
}

async fn serve(mut stream: TcpStream, count: &AtomicU32) -> std::io::Result<()> {
    let bad = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut buf = BytesMut::new();
    loop {
        let request = loop {
            match parse_request(&mut buf).map_err(|_| bad())? {
                Some(request) => break request,
                None if stream.read_buf(&mut buf).await? == 0 => return Ok(()),
                None => {}
            }
        };
        let mut decoder = BodyDecoder::of(request.head.framing.length);
        let mut len = 0;
        loop {
            match decoder.next(&mut buf).map_err(|_| bad())? {
                Some(BodyPart::End(_)) => break,
                Some(BodyPart::Data(data)) => {
                    len += data.len();
                    if len > MOST {
                        return Ok(());
                    }
                }
                None if stream.read_buf(&mut buf).await? == 0 => return Ok(()),
                None => {}
            }
        }
        let (status, body) = match count.fetch_add(1, Ordering::Relaxed) % 8 {
            2 | 6 => (500, r#"{"error":"database is locked"}"#),
            4 => {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                (200, r#"{"ok":true,"slow":true}"#)
            }
            _ => (200, r#"{"ok":true}"#),
        };
        let mut out = BytesMut::new();
        let reason: &[u8] = if status == 200 {
            b"OK"
        } else {
            b"Internal Server Error"
        };
        put_status_line(status, reason, &mut out);
        put_field(b"Content-Type", b"application/json", &mut out);
        put_field(
            b"Content-Length",
            body.len().to_string().as_bytes(),
            &mut out,
        );
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
        stream.write_all(&out).await?;
        if !request.keep_alive || request.minor == Minor::Zero {
            return Ok(());
        }
    }
}

/// Failed events are sent again after seconds where CloudVNO waits minutes.
pub const TIME_SCALE: f64 = 60.0;

/// Between two events at first, and later on.
const FIRST_PAUSE: Duration = Duration::from_millis(700);
const LATER_PAUSE: Duration = Duration::from_secs(5);

/// Sends the nine events of CloudVNO over and over; in each round one more that was changed after
/// signing, one without a signature, and one that was signed for http://. Failed ones are tried
/// again as CloudVNO would, with minutes made seconds.
pub async fn traffic(url: Url, trust: Trust, secret: Secret) {
    let catalogue = Catalogue::builtin();
    let (Some(provider), Some(events)) = (catalogue.get("cloudvno"), events::of("cloudvno")) else {
        return;
    };
    let provider = Arc::new(provider.clone());
    let secret = Arc::new(secret);
    let mut sending = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        for (n, event) in events.iter().enumerate() {
            let body = event.form(&[]);
            let (provider, secret) = (Arc::clone(&provider), Arc::clone(&secret));
            let (url, trust) = (url.clone(), trust.clone());
            sending.spawn(async move {
                let sender = Sender {
                    provider: &provider,
                    secret: (n != 7).then_some(&*secret),
                    url: url.clone(),
                    trust: trust.clone(),
                    retry: true,
                    time_scale: TIME_SCALE,
                };
                match n {
                    3 => tampered(&sender, &body).await,
                    5 => signed_for_http(&sender, &body).await,
                    _ => drop(sender.send(&body, FORM, |_| {}).await),
                }
            });
            while sending.len() > 32 {
                sending.join_next().await;
            }
            tokio::time::sleep(pause).await;
        }
        pause = LATER_PAUSE;
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn tampered(sender: &Sender<'_>, body: &str) {
    forged(
        sender,
        body,
        &sender.url.to_string(),
        &format!("{body}&Price=-99.00"),
    )
    .await;
}

async fn signed_for_http(sender: &Sender<'_>, body: &str) {
    let url = sender.url.to_string().replacen("https://", "http://", 1);
    forged(sender, body, &url, body).await;
}

/// Sends `sent` with the signature of `signed` under `url`.
async fn forged(sender: &Sender<'_>, signed: &str, url: &str, sent: &str) {
    let headers = [(&b"Content-Type"[..], FORM.as_bytes())];
    let unsigned = signature::Unsigned {
        method: "POST",
        url,
        headers: &headers,
        body: signed.as_bytes(),
        id: "",
    };
    let Some(Ok(mut fields)) = sender
        .secret
        .map(|secret| sender.provider.sign(unsigned, secret, 0))
    else {
        return;
    };
    fields.push((String::from("Content-Type"), String::from(FORM)));
    let forged = Request {
        method: String::from("POST"),
        url: sender.url.clone(),
        fields,
        body: Bytes::copy_from_slice(sent.as_bytes()),
    };
    // Whoever sends it behaves as the provider would.
    let delays = match sender.provider.schedule() {
        Schedule::Delays { delays, .. } => delays.as_slice(),
        _ => &[],
    };
    let mut waits = delays.iter().map(|delay| delay.div_f64(sender.time_scale));
    loop {
        let answer = request(&forged, &sender.trust, Duration::from_secs(10)).await;
        if answer.is_ok_and(|answer| (200..300).contains(&answer.status)) {
            return;
        }
        match waits.next() {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return,
        }
    }
}
