//! HTTP/1.0 and HTTP/1.1, read and written as bytes (RFC 9112).
//!
//! Heads keep the order and spelling of their fields. What a sender may not send is refused, not
//! repaired: every lenient reading is a chance for two programs to disagree about where a request
//! ends. From an app a bare LF is taken as a line's end (RFC 9112, 2.2 allows it), because nothing
//! behind us reads those bytes again.

use crate::headers::{is, is_field_value, is_tchar, is_token, lists};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use wire::{Fields, Framing, Length, Place, RequestHead, ResponseHead};

/// The longest head of a request, in bytes, line ends included.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most fields in a request's head; wire allows some more for answers.
pub const MAX_FIELDS: usize = 256;

/// The longest chunk line with its extensions, in bytes.
const MAX_CHUNK_LINE: usize = 1024;

/// Why a head or body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP as it must be; says which rule.
    #[error("{0}")]
    Malformed(&'static str),
    /// A head over [`MAX_HEAD`] or [`MAX_FIELDS`].
    #[error("the head is larger than {MAX_HEAD} bytes or {MAX_FIELDS} fields")]
    TooLarge,
    /// A major version that is not ours.
    #[error("this HTTP version is not spoken here")]
    Version,
}

use Refusal::Malformed;

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minor {
    /// HTTP/1.0
    Zero,
    /// HTTP/1.1
    One,
}

/// A request's head as it stood on the connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is carried on. The target is in origin-form, or `*`.
    pub head: RequestHead,
    /// The version.
    pub minor: Minor,
    /// Host and port as addressed: from an absolute target, else from Host. Empty only in
    /// HTTP/1.0 without Host.
    pub authority: String,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
}

/// An answer's head as it stood on the connection.
#[derive(Clone, Debug)]
pub struct Response {
    /// What is carried on. The status is 100 to 999 here.
    pub head: ResponseHead,
    /// Whether the connection may be used again, once the body has ended.
    pub keep_alive: bool,
    /// How the body is delimited.
    pub body: BodyDecoder,
}

/// Takes a request's head from the front of `buf`; `None` when more bytes are needed.
///
/// # Errors
///
/// [`Refusal`]; the connection must be closed after the answer.
pub fn parse_request(buf: &mut BytesMut) -> Result<Option<Request>, Refusal> {
    // RFC 9112, 2.2: a server SHOULD ignore at least one empty line before the request-line.
    while buf.starts_with(b"\r\n") {
        buf.advance(2);
    }
    let Some(end) = find_head_end(buf, false)? else {
        return match buf.len() > MAX_HEAD {
            true => Err(Refusal::TooLarge),
            false => Ok(None),
        };
    };
    if end > MAX_HEAD {
        return Err(Refusal::TooLarge);
    }
    let head = buf.split_to(end).freeze();
    let mut lines = Lines { rest: head };
    let line = lines.next().ok_or(Malformed("no request line"))?;
    let (method, target, minor) = request_line(&line)?;
    let fields = parse_fields(&mut lines, MAX_FIELDS)?;

    let mut hosts = fields
        .iter()
        .filter(|(name, _)| is(name, "host"))
        .map(|(_, value)| value);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed("more than one Host field"));
    }
    // RFC 9112, 3.2: a server MUST answer 400 to an HTTP/1.1 request that lacks a Host field.
    if host.is_none() && minor == Minor::One {
        return Err(Malformed("no Host field"));
    }
    let host = host.map(|value| authority(value)).transpose()?;
    let (target, authority) = match absolute(&target)? {
        Some((target, authority)) => {
            // RFC 9112, 3.2.2: the target's authority counts, and Host must say the same.
            if host
                .as_ref()
                .is_some_and(|host| !host.eq_ignore_ascii_case(&authority))
            {
                return Err(Malformed("Host differs from the target's authority"));
            }
            (target, authority)
        }
        None => (target, host.unwrap_or_default()),
    };
    if !(target.starts_with(b"/") || (&target[..] == b"*" && &method[..] == b"OPTIONS")) {
        return Err(Malformed(
            "the target is neither a path nor a URL of this host",
        ));
    }

    let (length, place, fields) = take_framing(fields, minor == Minor::One, false)?;
    let keep_alive = stays(&fields, minor);
    let head = RequestHead {
        method,
        target,
        framing: Framing {
            length: length.unwrap_or(Length::Empty),
            place,
        },
        fields,
    };
    Ok(Some(Request {
        head,
        minor,
        authority,
        keep_alive,
    }))
}

/// Takes an answer's head from the front of `buf`; `None` when more bytes are needed. `to_head`
/// says that the request was a HEAD.
///
/// # Errors
///
/// [`Refusal`] when the bytes are no answer.
pub fn parse_response(buf: &mut BytesMut, to_head: bool) -> Result<Option<Response>, Refusal> {
    let Some(end) = find_head_end(buf, true)? else {
        return match buf.len() > MAX_HEAD {
            true => Err(Refusal::TooLarge),
            false => Ok(None),
        };
    };
    if end > MAX_HEAD {
        return Err(Refusal::TooLarge);
    }
    let head = buf.split_to(end).freeze();
    let mut lines = Lines { rest: head };
    let line = lines.next().ok_or(Malformed("no status line"))?;
    let (minor, status, reason) = status_line(&line)?;
    let fields = parse_fields(&mut lines, wire::codec::MAX_FIELDS)?;
    let (length, place, fields) = take_framing(fields, true, true)?;
    let mut keep_alive = stays(&fields, minor);
    // RFC 9112, 6.3, rules 1 and 2: no body whatever the fields say.
    let bodiless = to_head || status < 200 || status == 204 || status == 304;
    let body = match (bodiless, length) {
        (true, _) => BodyDecoder::empty(),
        (false, Some(Length::Unknown)) => BodyDecoder::chunked(),
        (false, Some(Length::Known(n))) => BodyDecoder::length(n),
        (false, Some(Length::Empty)) => BodyDecoder::empty(),
        (false, None) => {
            keep_alive = false;
            BodyDecoder::until_close()
        }
    };
    let framing = match (bodiless, length) {
        (true, length) => Framing {
            length: length.unwrap_or(Length::Empty),
            place,
        },
        (false, length) => Framing {
            length: length.unwrap_or(Length::Unknown),
            place,
        },
    };
    let head = ResponseHead {
        status,
        reason,
        fields,
        framing,
    };
    Ok(Some(Response {
        head,
        keep_alive,
        body,
    }))
}

/// Lines of any head: the first, the fields, the empty one. More is refused before the end comes,
/// so that a head that comes in small pieces is not read over and over.
const MAX_LINES: usize = wire::codec::MAX_FIELDS + 2;

/// The index just behind the empty line that ends the head.
fn find_head_end(buf: &[u8], bare_lf: bool) -> Result<Option<usize>, Refusal> {
    let mut from = 0;
    let mut lines = 0;
    while let Some(at) = buf[from..].iter().position(|b| *b == b'\n') {
        let at = from + at;
        let line = &buf[from..at];
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None if bare_lf => line,
            None => return Err(Malformed("a line ends in a bare LF")),
        };
        if line.is_empty() && from > 0 {
            return Ok(Some(at + 1));
        }
        if line.is_empty() {
            return Err(Malformed("an empty line before the head"));
        }
        from = at + 1;
        lines += 1;
        if from > MAX_HEAD || lines > MAX_LINES {
            return Err(Refusal::TooLarge);
        }
    }
    Ok(None)
}

/// The lines of a head or trailer section, without their ends, up to the empty one.
struct Lines {
    rest: Bytes,
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let at = self.rest.iter().position(|b| *b == b'\n')?;
        let mut line = self.rest.split_to(at + 1);
        line.truncate(at);
        if line.last() == Some(&b'\r') {
            line.truncate(at - 1);
        }
        (!line.is_empty()).then_some(line)
    }
}

fn request_line(line: &Bytes) -> Result<(Bytes, Bytes, Minor), Refusal> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed(
            "the request line is not method, target and version",
        ));
    };
    if !is_token(method) {
        return Err(Malformed("the method is not a token"));
    }
    if target.is_empty()
        || !target
            .iter()
            .all(|b| (0x21..0x7f).contains(b) && *b != b'#')
    {
        return Err(Malformed(
            "the target has characters that a URL cannot have",
        ));
    }
    let minor = match version {
        b"HTTP/1.1" => Minor::One,
        b"HTTP/1.0" => Minor::Zero,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Malformed("the version is not HTTP/1.0 or HTTP/1.1")),
    };
    if method == b"CONNECT" {
        return Err(Malformed("CONNECT is not served here"));
    }
    Ok((line.slice_ref(method), line.slice_ref(target), minor))
}

fn status_line(line: &Bytes) -> Result<(Minor, u16, Bytes), Refusal> {
    let minor = match line.get(..8) {
        Some(b"HTTP/1.1") => Minor::One,
        Some(b"HTTP/1.0") => Minor::Zero,
        _ => {
            return Err(Malformed(
                "the status line does not begin with HTTP/1.0 or HTTP/1.1",
            ));
        }
    };
    let status = match line.get(8..12) {
        Some([b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(Malformed("the status is not a number of three digits")),
    };
    let reason = match line.get(12) {
        None => Bytes::new(),
        Some(b' ') => line.slice(13..),
        Some(_) => return Err(Malformed("the status is not a number of three digits")),
    };
    if !is_field_value(&reason) {
        return Err(Malformed("the reason has control characters"));
    }
    Ok((minor, status, reason))
}

fn parse_fields(lines: &mut Lines, most: usize) -> Result<Fields, Refusal> {
    let mut fields = Vec::with_capacity(16);
    for line in lines {
        if fields.len() == most {
            return Err(Refusal::TooLarge);
        }
        // RFC 9112, 5.2: obs-fold is to be refused.
        if line.first().is_some_and(|b| *b == b' ' || *b == b'\t') {
            return Err(Malformed("a field is folded over two lines"));
        }
        let colon = line
            .iter()
            .position(|b| !is_tchar(*b))
            .filter(|at| *at > 0 && line[*at] == b':')
            .ok_or(Malformed("a field name is not a token followed by a colon"))?;
        let value = line[colon + 1..].trim_ascii_start();
        let value = trim_ows_end(value);
        if !is_field_value(value) {
            return Err(Malformed("a field value has control characters"));
        }
        fields.push((line.slice(..colon), line.slice_ref(value)));
    }
    Ok(fields)
}

fn trim_ows_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Splits an absolute target into path and authority; `None` when it is not absolute.
fn absolute(target: &Bytes) -> Result<Option<(Bytes, String)>, Refusal> {
    let lower: Vec<u8> = target.iter().take(8).map(u8::to_ascii_lowercase).collect();
    let skip = if lower.starts_with(b"http://") {
        7
    } else if lower.starts_with(b"https://") {
        8
    } else {
        return Ok(None);
    };
    let rest = target.slice(skip..);
    let end = rest
        .iter()
        .position(|b| *b == b'/' || *b == b'?')
        .unwrap_or(rest.len());
    let name = authority(&rest[..end])?;
    if name.is_empty() {
        return Err(Malformed("the target has no host"));
    }
    let path = match rest.get(end) {
        Some(b'/') => rest.slice(end..),
        Some(_) => [b"/", &rest[end..]].concat().into(),
        None => Bytes::from_static(b"/"),
    };
    Ok(Some((path, name)))
}

/// Checks a host and port (RFC 3986, 3.2.2, without user information; RFC 9110, 7.2).
///
/// # Errors
///
/// [`Refusal::Malformed`].
pub fn authority(value: &[u8]) -> Result<String, Refusal> {
    let (host, port) = match value {
        [b'[', ..] => {
            let end = value
                .iter()
                .position(|b| *b == b']')
                .ok_or(Malformed("bad host"))?;
            let inner = &value[1..end];
            if !inner
                .iter()
                .all(|b| b.is_ascii_hexdigit() || b":.".contains(b))
            {
                return Err(Malformed("bad host"));
            }
            (&value[..=end], &value[end + 1..])
        }
        _ => {
            let end = value.iter().position(|b| *b == b':').unwrap_or(value.len());
            let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
            if !value[..end].iter().all(fits) {
                return Err(Malformed("bad host"));
            }
            (&value[..end], &value[end..])
        }
    };
    let is_port = port.is_empty()
        || port[0] == b':' && port.len() <= 6 && port[1..].iter().all(u8::is_ascii_digit);
    if !is_port {
        return Err(Malformed("bad port"));
    }
    if host.len() > 255 {
        return Err(Malformed("bad host"));
    }
    String::from_utf8(value.to_vec()).map_err(|_| Malformed("bad host"))
}

/// Takes the framing fields out of a head and reads the body's length from them; `None` when
/// there were none. `lenient` is for answers.
fn take_framing(
    mut fields: Fields,
    chunked_allowed: bool,
    lenient: bool,
) -> Result<(Option<Length>, Option<Place>, Fields), Refusal> {
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut place: Option<Place> = None;
    for (index, (name, value)) in fields.iter().enumerate() {
        if is(name, "content-length") {
            let n = content_length(value)?;
            // RFC 9112, 6.3, rule 5. Even equal repeats are refused from a sender.
            if length.is_some_and(|known| !lenient || known != n) {
                return Err(Malformed("more than one Content-Length"));
            }
            length = Some(n);
        } else if is(name, "transfer-encoding") {
            // RFC 9112, 6.1: only exactly one `chunked` is understood here. `gzip, chunked` and
            // the like are how requests are smuggled.
            if chunked || !is(value, "chunked") {
                return Err(Malformed("a Transfer-Encoding other than chunked"));
            }
            if !chunked_allowed {
                return Err(Malformed("Transfer-Encoding in HTTP/1.0"));
            }
            chunked = true;
        } else {
            continue;
        }
        place.get_or_insert_with(|| Place {
            index,
            name: name.clone(),
        });
    }
    // RFC 9112, 6.1: both together "ought to be handled as an error".
    if chunked && length.is_some() {
        return Err(Malformed("both Content-Length and Transfer-Encoding"));
    }
    if place.is_some() {
        fields.retain(|(name, _)| !is(name, "content-length") && !is(name, "transfer-encoding"));
    }
    let length = if chunked {
        Some(Length::Unknown)
    } else {
        length.map(Length::Known)
    };
    Ok((length, place, fields))
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed("Content-Length is not a number"));
    }
    Ok(value
        .iter()
        .fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// Whether the connection stays open (RFC 9112, 9.3).
fn stays(fields: &Fields, minor: Minor) -> bool {
    match minor {
        Minor::One => !lists(fields, "connection", "close"),
        Minor::Zero => {
            lists(fields, "connection", "keep-alive") && !lists(fields, "connection", "close")
        }
    }
}

/// Some of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Bytes.
    Data(Bytes),
    /// The end, with the trailers of a chunked body.
    End(Fields),
}

/// Takes a body off a connection, whatever delimits it.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: BodyState,
    /// Bytes of the trailers in which no end was found.
    scanned: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Length(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

impl BodyDecoder {
    fn new(state: BodyState) -> BodyDecoder {
        BodyDecoder { state, scanned: 0 }
    }

    /// No body.
    pub fn empty() -> BodyDecoder {
        BodyDecoder::new(BodyState::Length(0))
    }

    /// So many bytes.
    pub fn length(n: u64) -> BodyDecoder {
        BodyDecoder::new(BodyState::Length(n))
    }

    /// Chunks (RFC 9112, 7.1).
    pub fn chunked() -> BodyDecoder {
        BodyDecoder::new(BodyState::ChunkLine)
    }

    /// All until the connection closes.
    pub fn until_close() -> BodyDecoder {
        BodyDecoder::new(BodyState::UntilClose)
    }

    /// The decoder of a request's body.
    pub fn of(length: Length) -> BodyDecoder {
        match length {
            Length::Empty => BodyDecoder::empty(),
            Length::Known(n) => BodyDecoder::length(n),
            Length::Unknown => BodyDecoder::chunked(),
        }
    }

    /// Whether the end was handed out.
    pub fn is_done(&self) -> bool {
        self.state == BodyState::Done
    }

    /// Whether nothing is left but the end, which needs no more bytes.
    pub fn is_at_end(&self) -> bool {
        matches!(self.state, BodyState::Done | BodyState::Length(0))
    }

    /// What the end of the connection means now: the body's end, or a cut.
    pub fn end_of_input(&mut self) -> Result<BodyPart, Refusal> {
        match self.state {
            BodyState::UntilClose => {
                self.state = BodyState::Done;
                Ok(BodyPart::End(Vec::new()))
            }
            _ => Err(Malformed("the connection closed inside a body")),
        }
    }

    /// Takes the next part from the front of `buf`; `None` when more bytes are needed. After
    /// [`BodyPart::End`] there is nothing more.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when chunks or trailers are not as they must be.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<BodyPart>, Refusal> {
        loop {
            match self.state {
                BodyState::Done => return Ok(None),
                BodyState::Length(0) => {
                    self.state = BodyState::Done;
                    return Ok(Some(BodyPart::End(Vec::new())));
                }
                BodyState::Length(left) => {
                    return Ok(take(buf, left).map(|data| {
                        self.state = BodyState::Length(left - data.len() as u64);
                        BodyPart::Data(data)
                    }));
                }
                BodyState::UntilClose => {
                    return Ok(take(buf, u64::MAX).map(BodyPart::Data));
                }
                BodyState::Chunk(left) => {
                    return Ok(take(buf, left).map(|data| {
                        let left = left - data.len() as u64;
                        self.state = if left == 0 {
                            BodyState::ChunkEnd
                        } else {
                            BodyState::Chunk(left)
                        };
                        BodyPart::Data(data)
                    }));
                }
                BodyState::ChunkEnd => match buf.get(..2) {
                    None if buf.first().is_none_or(|b| *b == b'\r') => return Ok(None),
                    Some(b"\r\n") => {
                        buf.advance(2);
                        self.state = BodyState::ChunkLine;
                    }
                    _ => return Err(Malformed("a chunk is longer than it says")),
                },
                BodyState::ChunkLine => {
                    let Some(line) = line(buf, MAX_CHUNK_LINE)? else {
                        return Ok(None);
                    };
                    self.state = match chunk_size(&line)? {
                        0 => BodyState::Trailers,
                        n => BodyState::Chunk(n),
                    };
                }
                BodyState::Trailers => return self.trailers(buf),
            }
        }
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Option<BodyPart>, Refusal> {
        // The section ends with an empty line: at once, or behind some fields.
        let end = match buf.get(..2) {
            None => return Ok(None),
            Some(b"\r\n") => 2,
            Some(_) => {
                // Without a line's end in what is new there is nothing to find.
                let new = &buf[self.scanned.min(buf.len())..];
                let end = match new.contains(&b'\n') {
                    true => find_head_end(buf, false)?,
                    false => None,
                };
                self.scanned = buf.len();
                match end {
                    Some(end) => end,
                    None if buf.len() > MAX_HEAD => return Err(Refusal::TooLarge),
                    None => return Ok(None),
                }
            }
        };
        let section = buf.split_to(end).freeze();
        let fields = parse_fields(&mut Lines { rest: section }, MAX_FIELDS)?;
        self.state = BodyState::Done;
        Ok(Some(BodyPart::End(fields)))
    }
}

fn take(buf: &mut BytesMut, most: u64) -> Option<Bytes> {
    if buf.is_empty() {
        return None;
    }
    let n = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
    Some(buf.split_to(n).freeze())
}

/// One line without its CRLF.
fn line(buf: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, Refusal> {
    let Some(at) = buf.iter().take(most).position(|b| *b == b'\n') else {
        return match buf.len() >= most {
            true => Err(Malformed("a chunk line is too long")),
            false => Ok(None),
        };
    };
    let mut line = buf.split_to(at + 1);
    line.truncate(at);
    if line.last() != Some(&b'\r') {
        return Err(Malformed("a chunk line ends in a bare LF"));
    }
    line.truncate(at - 1);
    Ok(Some(line))
}

/// Reads a chunk's size. Extensions are dropped, as RFC 9112, 7.1.1 lets a recipient do, once
/// they are known to hold nothing that another parser could take for a line's end.
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line
        .iter()
        .position(|b| !b.is_ascii_hexdigit())
        .unwrap_or(line.len());
    if digits == 0 || digits > 15 {
        return Err(Malformed("a chunk size is not a hexadecimal number"));
    }
    let rest = &line[digits..];
    let blank = rest
        .iter()
        .position(|b| *b != b' ' && *b != b'\t')
        .unwrap_or(rest.len());
    match rest.get(blank) {
        None if blank == 0 => {}
        Some(b';') if is_field_value(rest) => {}
        _ => return Err(Malformed("a chunk size is not a hexadecimal number")),
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| Malformed("bad chunk size"))?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed("bad chunk size"))
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoding {
    /// Bytes as they are: Content-Length says how many, or the connection's end.
    Plain,
    /// In chunks.
    Chunked,
}

impl BodyEncoding {
    /// Appends what comes before `len` bytes of data.
    pub fn before(self, len: usize, out: &mut BytesMut) {
        if self == BodyEncoding::Chunked {
            out.put_slice(format!("{len:x}\r\n").as_bytes());
        }
    }

    /// Appends what comes after them.
    pub fn after(self, out: &mut BytesMut) {
        if self == BodyEncoding::Chunked {
            out.put_slice(b"\r\n");
        }
    }

    /// Appends what ends the body. Trailers are dropped where there is no place for them.
    pub fn end(self, trailers: &Fields, out: &mut BytesMut) {
        if self == BodyEncoding::Chunked {
            out.put_slice(b"0\r\n");
            for (name, value) in trailers {
                put_field(name, value, out);
            }
            out.put_slice(b"\r\n");
        }
    }
}

/// Appends `METHOD target HTTP/1.1`.
pub fn put_request_line(method: &[u8], target: &[u8], out: &mut BytesMut) {
    out.put_slice(method);
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
}

/// Appends `HTTP/1.1 status reason`.
pub fn put_status_line(status: u16, reason: &[u8], out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.to_string().as_bytes());
    out.put_u8(b' ');
    out.put_slice(reason);
    out.put_slice(b"\r\n");
}

/// Appends one field.
pub fn put_field(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Appends the fields that `keep` wants, with the framing field where it stood, or last. The
/// field's spelling is kept where the framing did not change.
pub fn put_fields(
    fields: &Fields,
    framing: &Framing,
    encoding: Option<BodyEncoding>,
    out: &mut BytesMut,
    mut keep: impl FnMut(&[u8], &[u8]) -> bool,
) {
    let at = framing
        .place
        .as_ref()
        .map_or(fields.len(), |place| place.index.min(fields.len()));
    for (index, (name, value)) in fields.iter().enumerate() {
        if index == at {
            put_framing(framing, encoding, out);
        }
        if keep(name, value) {
            put_field(name, value, out);
        }
    }
    if at == fields.len() {
        put_framing(framing, encoding, out);
    }
}

fn put_framing(framing: &Framing, encoding: Option<BodyEncoding>, out: &mut BytesMut) {
    let spelled = |known: &'static str| match &framing.place {
        Some(place) if is(&place.name, known) => place.name.clone(),
        _ => Bytes::from_static(known.as_bytes()),
    };
    match (encoding, framing.length) {
        (Some(BodyEncoding::Chunked), _) => {
            put_field(&spelled("Transfer-Encoding"), b"chunked", out);
        }
        (_, Length::Known(n)) => {
            put_field(&spelled("Content-Length"), n.to_string().as_bytes(), out);
        }
        _ => {}
    }
}
