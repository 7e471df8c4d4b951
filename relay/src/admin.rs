//! The operator's listener: `/healthz` (alive) and `/readyz` (accepting). Loopback by default.

use crate::limits;
use crate::session::Phase;
use bytes::{BufMut, BytesMut};
use proxy::http1::{parse_request, put_field, put_status_line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at once; an operator's probes are few.
const CONNECTIONS: usize = 64;

/// Serves until dropped.
pub async fn run(listener: TcpListener, phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let phase = phase.clone();
                    connections.spawn(async move {
                        let _ = tokio::time::timeout(limits::HEAD, serve(stream, &phase)).await;
                    });
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
        }
    }
}

async fn serve(mut stream: TcpStream, phase: &watch::Receiver<Phase>) -> std::io::Result<()> {
    let mut buf = BytesMut::new();
    let request = loop {
        match parse_request(&mut buf) {
            Ok(Some(request)) => break Some(request),
            Ok(None) => {}
            Err(_) => break None,
        }
        if stream.read_buf(&mut buf).await? == 0 {
            return Ok(());
        }
    };
    let serving = *phase.borrow() == Phase::Serving;
    let (status, body) = match request
        .as_ref()
        .map(|r| (&r.head.method[..], &r.head.target[..]))
    {
        None => (400, "malformed\n"),
        Some((b"GET" | b"HEAD", b"/healthz")) => (200, "alive\n"),
        Some((b"GET" | b"HEAD", b"/readyz")) if serving => (200, "ready\n"),
        Some((b"GET" | b"HEAD", b"/readyz")) => (503, "draining\n"),
        Some((b"GET" | b"HEAD", _)) => (404, "not found\n"),
        Some(_) => (405, "only GET\n"),
    };
    let mut out = BytesMut::new();
    put_status_line(status, b"", &mut out);
    put_field(b"Content-Type", b"text/plain; charset=utf-8", &mut out);
    put_field(
        b"Content-Length",
        body.len().to_string().as_bytes(),
        &mut out,
    );
    put_field(b"Connection", b"close", &mut out);
    out.put_slice(b"\r\n");
    if request.is_none_or(|request| &request.head.method[..] != b"HEAD") {
        out.put_slice(body.as_bytes());
    }
    stream.write_all(&out).await?;
    stream.shutdown().await
}
