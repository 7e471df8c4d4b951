//! HTTP/1 as tests read it: small, strict, and not the product's own parser.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Fields as they stood: order, spelling and repeats.
pub type Fields = Vec<(String, String)>;

/// The fields of a head or of trailers, in order. The first line of a head is left out.
///
/// # Panics
///
/// When a line has no colon.
pub fn fields(head: &str) -> Fields {
    head.split("\r\n")
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}

/// The first value of a field, by name without regard to case.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last byte came.
    Whole,
    /// The connection broke off before.
    Cut,
}

/// An answer as it stood on the connection.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head without its empty line, as sent.
    pub head: String,
    /// Its fields.
    pub fields: Fields,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Fields,
    /// Heads of 1xx answers before it.
    pub interim: Vec<String>,
    /// Whether all of it came.
    pub end: End,
}

impl Answer {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The word of `Adit-Cause`.
    pub fn cause(&self) -> Option<&str> {
        self.field("adit-cause")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// The framing that the fields announce; `None` when they announce none.
    pub(crate) fn of(fields: &Fields) -> Option<Framing> {
        let chunked = field(fields, "transfer-encoding").map(str::to_ascii_lowercase);
        match (chunked.as_deref(), field(fields, "content-length")) {
            (Some("chunked"), None) => Some(Framing::Chunked),
            (None, Some(length)) => Some(Framing::Length(length.parse().expect("a length"))),
            (None, None) => None,
            both => panic!("framing that nobody may send: {both:?}"),
        }
    }
}

/// Some of a body.
pub(crate) enum Piece {
    Data(Vec<u8>),
    End(Fields),
}

/// Reads bytes and takes them apart.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    pub(crate) io: R,
    pub(crate) buf: Vec<u8>,
    left: u64,
}

/// The connection ended, or broke off.
#[derive(Debug)]
pub(crate) struct Ended;

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(io: R) -> Reader<R> {
        Reader {
            io,
            buf: Vec::new(),
            left: 0,
        }
    }

    /// Reads more bytes; how many.
    pub(crate) async fn fill(&mut self) -> Result<usize, Ended> {
        match self.io.read_buf(&mut self.buf).await {
            Ok(n @ 1..) => Ok(n),
            Ok(0) | Err(_) => Err(Ended),
        }
    }

    /// A head without its empty line; `Err` when the connection ends first.
    pub(crate) async fn head(&mut self) -> Result<String, Ended> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n\r\n") {
                let head: Vec<u8> = self.buf.drain(..at + 4).take(at).collect();
                // Latin-1: every byte stays what it was.
                return Ok(head.into_iter().map(char::from).collect());
            }
            self.fill().await?;
        }
    }

    async fn line(&mut self) -> Result<String, Ended> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n") {
                let line: Vec<u8> = self.buf.drain(..at + 2).take(at).collect();
                return Ok(line.into_iter().map(char::from).collect());
            }
            self.fill().await?;
        }
    }

    /// Begins a body.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.left = match framing {
            Framing::Length(n) => n,
            Framing::Chunked | Framing::UntilClose => 0,
        };
    }

    /// The next piece of a body.
    pub(crate) async fn piece(&mut self, framing: Framing) -> Result<Piece, Ended> {
        if framing == Framing::UntilClose {
            if self.buf.is_empty() && self.io.read_buf(&mut self.buf).await.map_err(|_| Ended)? == 0
            {
                return Ok(Piece::End(Fields::new()));
            }
            return Ok(Piece::Data(std::mem::take(&mut self.buf)));
        }
        if self.left == 0 {
            if framing != Framing::Chunked {
                return Ok(Piece::End(Fields::new()));
            }
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            self.left = u64::from_str_radix(size, 16).expect("a chunk size");
            if self.left == 0 {
                let mut trailers = String::from("\r\n");
                loop {
                    match self.line().await? {
                        line if line.is_empty() => return Ok(Piece::End(fields(&trailers))),
                        line => trailers.push_str(&format!("{line}\r\n")),
                    }
                }
            }
        }
        if self.buf.is_empty() {
            self.fill().await?;
        }
        let n = self
            .buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let data: Vec<u8> = self.buf.drain(..n).collect();
        self.left -= data.len() as u64;
        if self.left == 0 && framing == Framing::Chunked {
            let end = self.line().await?;
            assert!(end.is_empty(), "a chunk ends with {end:?}");
        }
        Ok(Piece::Data(data))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}
