//! Why it failed: what would have matched, found offline.
//!
//! Each hypothesis is one more MAC over a changed input, the likely slips first, until one matches
//! or the budget is spent. A hit explains and never excuses: the verdict stays what it was. Nothing
//! here prints a secret or the signature that was expected.

use std::borrow::Cow;
use std::cell::Cell;

use zeroize::Zeroizing;

use crate::catalogue::Catalogue;
use crate::cloudvno;
use crate::encoding::decode_secret;
use crate::json::{Gap, Style};
use crate::mac::{self, Hash, Key, Secret};
use crate::request::{Fault, Message, Request};
use crate::scheme::{Component, Encoding, KeyForm, Kind, Provider, SignedText, Template, Unit};
use crate::url::{self, Url};
use crate::verdict::{Hint, Verdict};
use crate::verify::{Frame, Keys};

/// Most MACs of one explanation.
const MAX_MACS: usize = 64;
/// Most bytes hashed for one explanation: 64 MACs of a body of 1 MiB.
const MAX_BYTES: usize = 64 << 20;
/// Longest body that is rewritten to find what was signed.
const MAX_REWRITTEN: usize = 1 << 20;
/// Most other hosts that are tried.
const MAX_HOSTS: usize = 8;
/// Most secrets of other providers that are tried.
const MAX_OTHERS: usize = 8;

/// What an explanation may try besides the message. Hosts that the message names in `Host`,
/// `X-Forwarded-Host` and the like are tried anyway.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Other authorities by which the sender may know this endpoint: old public names,
    /// `localhost:3000`. The first eight count.
    pub other_hosts: Vec<String>,
    /// Secrets configured for other providers, by the provider's name. The first eight count.
    pub other_providers: Vec<(String, Vec<Secret>)>,
}

impl Provider {
    /// Looks for what would have matched, or says what is wrong with what came.
    ///
    /// `Some` for every message that this provider judges `missing`, `invalid` or `stale`: the last
    /// resort is the code `wrong-secret`. Costs at most 64 MACs; do it on request, or for the
    /// newest failures.
    pub fn explain(&self, message: &Message<'_>, keys: &Keys, context: &Context) -> Option<Hint> {
        let judgement = self.verify(message, keys);
        let request = Request::new(*message);
        match judgement.verdict {
            Verdict::Valid | Verdict::None | Verdict::NoSecret => None,
            Verdict::Missing => Some(self.explain_missing(&request, judgement.why?)),
            Verdict::Stale => self.explain_stale(&request, keys),
            Verdict::Invalid => Some(self.explain_invalid(&request, keys, context, judgement.why?)),
        }
    }

    fn explain_missing(&self, request: &Request<'_>, why: String) -> Hint {
        let title = self.title();
        let headers = request.message.headers;
        let Some(wanted) = self.header() else {
            return hint(
                "signature-absent",
                format!("{why}; is it {title} that sends here?"),
            );
        };
        if request.header(wanted).next().is_some() {
            return hint(
                "signed-part-absent",
                format!("{why}; a proxy on the way dropped it, or {title} did not send this"),
            );
        }
        let old = wanted
            .strip_suffix("-256")
            .filter(|old| request.header(old).next().is_some());
        if let Some(old) = old {
            return hint(
                "only-sha1-header",
                format!(
                    "only the SHA-1 signature {old} came; {wanted} is due, which {title} sends \
                     beside it: see whether a proxy drops it, or the sender is an old one"
                ),
            );
        }
        if let Some(other) = Catalogue::builtin()
            .detect(headers)
            .filter(|o| o.name != self.name)
        {
            let name = other.header().unwrap_or_default();
            let (looks, other) = (other.title(), other.name());
            return hint(
                "other-provider",
                format!("this looks like {looks} ({name} came); set the provider to {other}"),
            );
        }
        let alike: Vec<_> = headers
            .iter()
            .filter_map(|header| signature_like(header.0))
            .collect();
        if alike.is_empty() {
            return hint(
                "signature-absent",
                format!(
                    "no header that came looks like a signature: switch signing on at {title}, or \
                     see whether a proxy drops {wanted}"
                ),
            );
        }
        hint(
            "other-signature-header",
            format!(
                "{wanted} is due and did not come; {} did",
                alike[..alike.len().min(4)].join(", ")
            ),
        )
    }

    fn explain_stale(&self, request: &Request<'_>, keys: &Keys) -> Option<Hint> {
        let frame = Frame::new(&self.scheme, request, &keys.config).ok()?;
        let tolerance = self.scheme.tolerance?;
        let ts = frame.ts()?;
        let at = request.message.at;
        let fresh = |signed: i64| {
            let age = at.saturating_sub(signed);
            age <= tolerance.past && age >= tolerance.future.saturating_neg()
        };
        let signed = self.scheme.unit.seconds(ts)?;
        let age = at.saturating_sub(signed);
        let (past, future) = (tolerance.past, tolerance.future);
        if self.scheme.unit == Unit::Seconds && fresh(signed.div_euclid(1000)) {
            return Some(hint(
                "timestamp-milliseconds",
                "matches; the timestamp is in milliseconds where seconds are due".into(),
            ));
        }
        if self.scheme.unit == Unit::Milliseconds && fresh(Unit::Seconds.seconds(ts)?) {
            return Some(hint(
                "timestamp-seconds",
                "matches; the timestamp is in seconds where milliseconds are due".into(),
            ));
        }
        Some(if age < 0 {
            let ahead = age.saturating_neg();
            hint(
                "timestamp-ahead",
                format!(
                    "matches; the timestamp is {ahead} s ahead of its arrival here, tolerance \
                     {future} s: compare this clock with the relay's Date header"
                ),
            )
        } else {
            hint(
                "timestamp-old",
                format!(
                    "matches; the timestamp is {age} s old, tolerance {past} s: it was sent late or \
                     replayed; sign it anew to replay it"
                ),
            )
        })
    }

    fn explain_invalid(
        &self,
        request: &Request<'_>,
        keys: &Keys,
        context: &Context,
        why: String,
    ) -> Hint {
        let frame = match Frame::new(&self.scheme, request, &keys.config) {
            Ok(frame) => frame,
            Err(Fault::Absent(why)) => {
                return hint("signed-part-absent", why);
            }
            Err(Fault::Unreadable(why)) => {
                return hint("header-repeated", format!("{why}; only one can be meant"));
            }
        };
        let derived: Vec<Key> = keys
            .usable()
            .flat_map(|(_, secret)| self.scheme.key.keys(secret.text()))
            .collect();
        let mut search = Search {
            provider: self,
            request,
            keys,
            derived,
            signatures: Vec::new(),
            macs: Cell::new(0),
            bytes: Cell::new(0),
        };
        match search.form_of_value(&frame) {
            Ok(sound) => search.signatures = sound,
            Err(hint) => return hint,
        }
        if search.base_matches() {
            // The signature is right; what was judged after it is not.
            let unreadable = self.scheme.tolerance.is_some()
                && frame
                    .ts()
                    .and_then(|ts| self.scheme.unit.seconds(ts))
                    .is_none();
            return hint(
                if unreadable {
                    "timestamp-unreadable"
                } else {
                    "check-failed"
                },
                why,
            );
        }
        search
            .secrets()
            .or_else(|| search.secrets_of_others(context))
            .or_else(|| search.urls(context))
            .or_else(|| search.parameters())
            .or_else(|| search.bodies())
            .or_else(|| search.algorithms())
            .or_else(|| search.rewritten())
            .unwrap_or_else(|| search.nothing())
    }
}

fn hint(code: &str, sentence: String) -> Hint {
    Hint {
        code: code.into(),
        sentence,
    }
}

/// The name of a header, if it sounds like a signature.
fn signature_like(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| name.len() <= 64)?;
    let lower = name.to_ascii_lowercase();
    let sounds = [
        "signature",
        "hmac",
        "digest",
        "-sign",
        "-mac",
        "-token",
        "webhook-secret",
    ];
    sounds
        .iter()
        .any(|sound| lower.contains(sound))
        .then_some(name)
}

/// One search, with what it has spent.
struct Search<'s> {
    provider: &'s Provider,
    request: &'s Request<'s>,
    keys: &'s Keys,
    /// From the configured secrets, in their order.
    derived: Vec<Key>,
    /// Those that came, decoded.
    signatures: Vec<Vec<u8>>,
    macs: Cell<usize>,
    bytes: Cell<usize>,
}

impl Search<'_> {
    /// Whether a text under a key has one of the signatures that came. Counts.
    fn hit(&self, key: &[u8], parts: &[Cow<'_, [u8]>]) -> bool {
        self.spend(parts) && {
            let ours = self.provider.scheme.compute(key, parts);
            self.came(&ours)
        }
    }

    fn came(&self, ours: &[u8]) -> bool {
        self.signatures.iter().any(|theirs| mac::same(ours, theirs))
    }

    fn spend(&self, parts: &[Cow<'_, [u8]>]) -> bool {
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        let affordable = self.macs.get() < MAX_MACS && self.bytes.get() + bytes <= MAX_BYTES;
        if affordable {
            self.macs.set(self.macs.get() + 1);
            self.bytes.set(self.bytes.get() + bytes);
        }
        affordable
    }

    /// Whether a changed message matches with a configured secret.
    fn matches(&self, message: Message<'_>) -> bool {
        self.matches_under(message, &self.derived, 1)
    }

    fn matches_under(&self, message: Message<'_>, keys: &[Key], most: usize) -> bool {
        let request = Request::new(message);
        let Ok(frame) = Frame::new(&self.provider.scheme, &request, &self.keys.config) else {
            return false;
        };
        keys.iter().any(|key| {
            let texts = frame.texts(key).unwrap_or_default();
            texts
                .iter()
                .take(most)
                .any(|text| self.hit(key, &text.parts))
        })
    }

    fn base_matches(&self) -> bool {
        let matched = self.matches_under(self.request.message, &self.derived, 8);
        // Known not to match; it was no guess.
        self.macs.set(0);
        self.bytes.set(0);
        matched
    }

    /// The decoded signatures, or what is wrong with their form.
    fn form_of_value(&self, frame: &Frame<'_>) -> Result<Vec<Vec<u8>>, Hint> {
        let scheme = &self.provider.scheme;
        let title = self.provider.title();
        let items = match frame.picked() {
            Ok(items) => items,
            Err(_) => return Ok(Vec::new()),
        };
        if matches!(scheme.kind, Kind::Token | Kind::Basic | Kind::None) {
            return Ok(items
                .iter()
                .filter_map(|item| scheme.decode(item))
                .collect());
        }
        let sound: Vec<Vec<u8>> = items
            .iter()
            .filter_map(|item| scheme.decode(item))
            .filter(|bytes| bytes.len() == scheme.hash.len())
            .collect();
        if !sound.is_empty() {
            return Ok(sound);
        }
        let Some(item) = items.first() else {
            let value = frame.value();
            let pick = scheme
                .pick
                .as_ref()
                .and_then(Template::literal)
                .unwrap_or_default();
            let pick = String::from_utf8_lossy(pick);
            let bare = scheme
                .decode(value)
                .filter(|bytes| bytes.len() == scheme.hash.len());
            return Err(match bare {
                Some(bytes) => hint(
                    "signature-prefix-missing",
                    if self.would_match(bytes) {
                        format!(
                            "matches if {pick} stands before it: {title} sends it so; a proxy or a test dropped it"
                        )
                    } else {
                        format!(
                            "{pick} is missing before the signature, and it would not match with it"
                        )
                    },
                ),
                None => hint(
                    "signature-prefix",
                    format!(
                        "nothing in the value starts with {pick}, as a signature of {title} does"
                    ),
                ),
            });
        };
        Err(self.form_of_item(item))
    }

    /// What is wrong with a signature that is not of the encoding and length that are due.
    fn form_of_item(&self, item: &[u8]) -> Hint {
        let scheme = &self.provider.scheme;
        let title = self.provider.title();
        let (due, length) = (scheme.enc.title(), scheme.hash.len());
        let whole = |bytes: Option<Vec<u8>>| bytes.filter(|bytes| bytes.len() == length);
        let quotes: &[u8] = b"\"'";
        let bare = item.trim_ascii();
        let bare = bare
            .strip_prefix(&quotes[..1])
            .or(bare.strip_prefix(&quotes[1..]))
            .unwrap_or(bare);
        let bare = bare
            .strip_suffix(&quotes[..1])
            .or(bare.strip_suffix(&quotes[1..]))
            .unwrap_or(bare);
        let after = item.iter().take(17).position(|byte| b"=,: ".contains(byte));
        let hexes = matches!(scheme.enc, Encoding::Hex | Encoding::HexLower);
        let plus: Vec<u8> = item
            .iter()
            .map(|b| if *b == b' ' { b'+' } else { *b })
            .collect();
        let base64 = Encoding::Base64
            .decode(item)
            .or_else(|| Encoding::Base64Url.decode(item));
        let guesses = [
            (
                "signature-quoted",
                "in quotes",
                whole(scheme.enc.decode(bare)),
            ),
            (
                "signature-uppercase",
                "in capitals",
                whole(scheme.enc.decode(&item.to_ascii_lowercase())).filter(|_| hexes),
            ),
            (
                "signature-base64-not-hex",
                "base64",
                whole(base64.clone()).filter(|_| hexes),
            ),
            (
                "signature-hex-not-base64",
                "hex",
                whole(Encoding::Hex.decode(item)).filter(|_| !hexes),
            ),
            (
                "signature-base64-alphabet",
                "base64 of another alphabet",
                whole(base64),
            ),
            (
                "signature-plus-lost",
                "base64 with blanks for +",
                whole(scheme.enc.decode(&plus)),
            ),
            (
                "signature-prefixed",
                "written after a prefix",
                whole(after.and_then(|at| scheme.enc.decode(&item[at + 1..]))),
            ),
        ];
        for (code, is, bytes) in guesses {
            let Some(bytes) = bytes else { continue };
            let matches = if self.would_match(bytes) {
                "matches if it is read so"
            } else {
                "read so it does not match either"
            };
            return hint(
                code,
                format!("the signature is {is}, {title} sends {due}; {matches}"),
            );
        }
        let bytes = scheme
            .enc
            .decode(item)
            .or_else(|| Encoding::Hex.decode(item));
        for hash in [Hash::Sha1, Hash::Sha512] {
            if bytes
                .as_ref()
                .is_some_and(|bytes| bytes.len() == hash.len())
            {
                let code = if hash == Hash::Sha1 {
                    "algorithm-sha1"
                } else {
                    "algorithm-sha512"
                };
                let (long, wanted) = (hash.title(), scheme.hash.title());
                return hint(
                    code,
                    format!(
                        "the signature is as long as {long}; {title} uses {wanted}: choose it at the sender"
                    ),
                );
            }
        }
        let alphabet = item.iter().all(|byte| match scheme.enc {
            Encoding::Hex | Encoding::HexLower => byte.is_ascii_hexdigit(),
            _ => byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte),
        });
        if !alphabet {
            return hint(
                "signature-alphabet",
                format!(
                    "the signature has characters that are not {due}: it was damaged on the way"
                ),
            );
        }
        let usual = scheme.enc.encode(&vec![0; length]).len();
        let came = item.len();
        let (code, how) = if came < usual {
            ("signature-cut", "cut")
        } else {
            ("signature-long", "lengthened")
        };
        hint(
            code,
            format!(
                "the signature has {came} characters where {usual} are due: it was {how} on the way, or is of another scheme"
            ),
        )
    }

    /// Whether a value read in another way matches the message as it is.
    fn would_match(&self, bytes: Vec<u8>) -> bool {
        let search = Search {
            provider: self.provider,
            request: self.request,
            keys: self.keys,
            derived: self.derived.clone(),
            signatures: vec![bytes],
            macs: Cell::new(0),
            bytes: Cell::new(0),
        };
        search.base_matches()
    }

    /// The secret as it may have been meant.
    fn secrets(&self) -> Option<Hint> {
        for (number, secret) in self.keys.usable() {
            let which = if self.keys.secrets.len() == 1 {
                String::new()
            } else {
                format!(" {number}")
            };
            for (code, what, key) in variants(self.provider.scheme.key, secret.text()) {
                if key.is_empty() || self.derived.contains(&key) {
                    continue;
                }
                if self.matches_under(self.request.message, &[key], 2) {
                    return Some(hint(code, format!("matches if the secret{which} {what}")));
                }
            }
        }
        None
    }

    fn secrets_of_others(&self, context: &Context) -> Option<Hint> {
        let others = context.other_providers.iter();
        let others = others.flat_map(|(name, secrets)| secrets.iter().map(move |one| (name, one)));
        for (name, secret) in others
            .take(MAX_OTHERS)
            .filter(|(_, secret)| !secret.is_blank())
        {
            let keys = self.provider.scheme.key.keys(secret.text());
            if self.matches_under(self.request.message, &keys, 2) {
                return Some(hint(
                    "secret-of-other-provider",
                    format!(
                        "matches with the secret configured for {name}: set it for {} as well",
                        self.provider.title()
                    ),
                ));
            }
        }
        None
    }

    fn urls(&self, context: &Context) -> Option<Hint> {
        let message = self.request.message;
        let signs_url = |what: &Component| {
            matches!(
                what,
                Component::Url
                    | Component::UrlPath
                    | Component::UrlPathQuery
                    | Component::UrlNoQuery
                    | Component::UrlPort
            )
        };
        let relevant = match &self.provider.scheme.text {
            SignedText::CloudVno => true,
            SignedText::Templates(templates) => templates.iter().any(|t| t.any(&signs_url)),
        };
        let url = Url::split(message.url).filter(|_| relevant)?;
        let mut guesses: Vec<(&str, String, &str)> = Vec::new();
        let secure = url.scheme.eq_ignore_ascii_case("https");
        let other = if secure { "http" } else { "https" };
        guesses.push((
            if secure {
                "url-scheme-http"
            } else {
                "url-scheme-https"
            },
            Url {
                scheme: other,
                ..url
            }
            .join(),
            if secure {
                "the sender has the http address; change it there"
            } else {
                "the sender has the https address; change it there, or the scheme here"
            },
        ));
        let slashed = format!("{}/", url.path);
        let path = url.path.strip_suffix('/').unwrap_or(&slashed);
        guesses.push((
            "url-trailing-slash",
            Url { path, ..url }.join(),
            "the sender has the address with another end; make both the same",
        ));
        if url.query.is_some() {
            guesses.push((
                "url-without-query",
                url::without_query(message.url).into(),
                "the sender signs it without the query; leave the query out of the address there",
            ));
        }
        guesses.push((
            "url-default-port",
            url.toggle_port().join(),
            "the sender signs the address with the port where it came without, or without where it came with; \
             write the address at the sender as it stands here",
        ));
        if url.userinfo.is_some() {
            guesses.push((
                "url-userinfo",
                Url {
                    userinfo: None,
                    ..url
                }
                .join(),
                "the sender signs it without user and password",
            ));
        }
        let own = url
            .port
            .map_or_else(|| url.host.into(), |port| format!("{}:{port}", url.host));
        for host in self.hosts(context, &own) {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !port.contains(']') => (name, Some(port)),
                _ => (host.as_str(), None),
            };
            let local = name == "localhost" || name.starts_with("127.") || name == "[::1]";
            let has = "the sender has this address; change it there";
            let moved = Url {
                host: name,
                port,
                ..url
            };
            if local && secure {
                guesses.push((
                    "url-host",
                    Url {
                        scheme: "http",
                        ..moved
                    }
                    .join(),
                    has,
                ));
            }
            guesses.push(("url-host", moved.join(), has));
        }
        let query = url
            .query
            .map_or_else(String::new, |query| format!("?{query}"));
        guesses.push((
            "url-path-only",
            format!("{}{query}", url.path),
            "the sender signs the path alone",
        ));
        for (code, url, todo) in &guesses {
            if self.matches(Message { url, ..message }) {
                // A query may hold a token.
                let shown = url::without_query(url);
                return Some(hint(code, format!("matches if the URL is {shown}: {todo}")));
            }
        }
        None
    }

    /// Other hosts that may have been signed: those configured, then those that the message names.
    fn hosts(&self, context: &Context, own: &str) -> Vec<String> {
        let mut hosts: Vec<String> = context.other_hosts.clone();
        for name in ["host", "x-forwarded-host", "x-original-host", "x-host"] {
            hosts.extend(
                self.request
                    .header(name)
                    .map(|v| String::from_utf8_lossy(v).into_owned()),
            );
        }
        for value in self.request.header("forwarded") {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            let hosted = value
                .split([';', ','])
                .filter_map(|pair| pair.trim().strip_prefix("host="));
            hosts.extend(hosted.map(|host| host.trim_matches('"').to_string()));
        }
        let plain = |host: &String| {
            let sane = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
            !host.is_empty() && host.len() <= 255 && host.bytes().all(sane)
        };
        let mut out: Vec<String> = Vec::new();
        for host in hosts.into_iter().filter(plain) {
            if out.len() < MAX_HOSTS && host != own && !out.contains(&host) {
                out.push(host);
            }
        }
        out
    }

    fn parameters(&self) -> Option<Hint> {
        let SignedText::CloudVno = self.provider.scheme.text else {
            return None;
        };
        let mut seen: Vec<Vec<u8>> = cloudvno::readings(self.request)
            .into_iter()
            .map(|r| r.text.into_bytes())
            .collect();
        for slip in cloudvno::slips(self.request) {
            if seen.contains(&slip.text) {
                continue;
            }
            let parts = [Cow::Borrowed(slip.text.as_slice())];
            if self.derived.iter().any(|key| self.hit(key, &parts)) {
                return Some(hint(slip.code, format!("matches if {}", slip.what)));
            }
            seen.push(slip.text);
        }
        None
    }

    /// The body as it may have left the sender, but for JSON written again.
    fn bodies(&self) -> Option<Hint> {
        let message = self.request.message;
        if matches!(self.provider.scheme.kind, Kind::Token | Kind::Basic) {
            return None;
        }
        let parts = [Cow::Borrowed(message.body)];
        if self.derived.iter().any(|key| self.hit(key, &parts)) {
            return Some(hint(
                "raw-body-only",
                "matches if the signed text is the raw body alone: the sender signs otherwise than \
                 the scheme says"
                    .into(),
            ));
        }
        if message.body.len() > MAX_REWRITTEN {
            return None;
        }
        let body = message.body;
        let mut guesses: Vec<(&str, Vec<u8>, &str)> = Vec::new();
        let trimmed = body
            .strip_suffix(b"\n")
            .map(|body| body.strip_suffix(b"\r").unwrap_or(body));
        match trimmed {
            Some(trimmed) => guesses.push((
                "trailing-newline",
                trimmed.into(),
                "without its final newline: something added one on the way",
            )),
            None => guesses.push((
                "trailing-newline-missing",
                [body, b"\n"].concat(),
                "with a final newline: something removed it on the way",
            )),
        }
        let lines = body.split(|&byte| byte == b'\n');
        if body.windows(2).any(|pair| pair == b"\r\n") {
            let unix: Vec<&[u8]> = lines
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .collect();
            guesses.push((
                "line-endings",
                unix.join(&b'\n'),
                "with LF for CRLF: something changed the line endings on the way",
            ));
        } else if body.contains(&b'\n') {
            guesses.push((
                "line-endings",
                lines.collect::<Vec<_>>().join(b"\r\n".as_slice()),
                "with CRLF for LF: something changed the line endings on the way",
            ));
        }
        match body.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => guesses.push((
                "byte-order-mark",
                rest.into(),
                "without its byte order mark: something added one on the way",
            )),
            None if !body.is_ascii() => guesses.push((
                "byte-order-mark",
                [b"\xef\xbb\xbf", body].concat(),
                "with a byte order mark: something removed it on the way",
            )),
            None => {}
        }
        for (code, body, how) in &guesses {
            if self.matches(Message { body, ..message }) {
                return Some(hint(code, format!("matches if the body is {how}")));
            }
        }
        None
    }

    /// A digest where an HMAC is due. Other hashes show by their length.
    fn algorithms(&self) -> Option<Hint> {
        let scheme = &self.provider.scheme;
        if scheme.kind != Kind::Hmac {
            return None;
        }
        let frame = Frame::new(scheme, self.request, &self.keys.config).ok()?;
        for key in &self.derived {
            let texts = frame.texts(key).ok()?;
            let text = texts.first()?;
            let secret = Cow::Borrowed(key.as_slice());
            let before: Vec<_> = std::iter::once(secret.clone())
                .chain(text.parts.clone())
                .collect();
            let after: Vec<_> = text.parts.iter().cloned().chain([secret]).collect();
            for (place, parts) in [("before", before), ("after", after)] {
                if self.spend(&parts) && self.came(&scheme.hash.digest(&parts)) {
                    return Some(hint(
                        "digest-not-hmac",
                        format!(
                            "matches as a plain digest with the secret {place} the text: the sender does not use HMAC"
                        ),
                    ));
                }
            }
        }
        None
    }

    /// JSON as other libraries write it.
    fn rewritten(&self) -> Option<Hint> {
        let message = self.request.message;
        let signs_bytes = match &self.provider.scheme.text {
            SignedText::CloudVno => false,
            SignedText::Templates(templates) => templates
                .iter()
                .any(|template| template.any(&|what| *what == Component::Body)),
        };
        if !signs_bytes || message.body.len() > MAX_REWRITTEN {
            return None;
        }
        let json = self.request.json()?;
        let mut seen = vec![message.body.to_vec()];
        for style in styles() {
            // Several styles write most bodies alike.
            let body = json.write(style).into_bytes();
            if seen.contains(&body) || body.len() > 2 * MAX_REWRITTEN {
                continue;
            }
            if self.matches(Message {
                body: &body,
                ..message
            }) {
                return Some(hint(
                    "reserialised-json",
                    format!(
                        "matches if the body is JSON written {}: something parsed it and wrote it \
                         again on the way; pass the bytes on as they come",
                        how(style)
                    ),
                ));
            }
            seen.push(body);
        }
        None
    }

    fn nothing(&self) -> Hint {
        let title = self.provider.title();
        let again = format!("most likely the secret is another one; copy it again from {title}");
        hint(
            "wrong-secret",
            match (self.derived.len(), self.macs.get()) {
                (0, _) => format!(
                    "the configured secret is not in the form that {title} gives out; copy it again"
                ),
                (_, 0) => again,
                (_, tried) => format!(
                    "none of {tried} variants of what may have been signed matches: {again}"
                ),
            },
        )
    }
}

/// Keys that the pasted secret may have been meant as, with a code and what follows "the secret".
fn variants(form: KeyForm, secret: &str) -> Vec<(&'static str, &'static str, Key)> {
    let mut out: Vec<(&'static str, &'static str, Key)> = Vec::new();
    let mut add = |code, what, keys: Vec<Key>| {
        out.extend(keys.into_iter().map(|key| (code, what, key)));
    };
    let one = |bytes: Option<Vec<u8>>| bytes.map(Zeroizing::new).into_iter().collect::<Vec<Key>>();
    let text = |text: &str| one(Some(text.as_bytes().to_vec()));
    let trimmed = secret.trim();
    if trimmed != secret {
        let what = "has no blank or newline around it: remove it in the configuration";
        add("secret-has-outer-space", what, form.keys(trimmed));
    }
    let unquoted = trimmed.trim_matches(['"', '\'']);
    if unquoted != trimmed {
        let what = "has no quotes around it: remove them in the configuration";
        add("secret-has-quotes", what, form.keys(unquoted));
    }
    let stripped = unquoted.strip_prefix("whsec_");
    let decodes = !matches!(form, KeyForm::Utf8 | KeyForm::Sha1);
    match stripped {
        Some(rest) if decodes => {
            let what = "is used as text, whsec_ and all: the sender does not decode it";
            add("secret-whsec-not-decoded", what, text(unquoted));
            let what = "is used as text after whsec_: the sender does not decode it";
            add("secret-whsec-not-decoded", what, text(rest));
        }
        Some(rest) => {
            let what = "is decoded from base64 after whsec_: the sender decodes it";
            add("secret-whsec-decoded", what, one(decode_secret(rest)));
            let what = "is used without whsec_";
            add("secret-whsec-stripped", what, text(rest));
        }
        None => {}
    }
    if form == KeyForm::Hex {
        let what = "is used as text: the sender does not decode the hex";
        add("secret-hex-not-decoded", what, text(unquoted));
    } else {
        let what = "is decoded from hex: the sender decodes it";
        add(
            "secret-hex-decoded",
            what,
            one(mac::unhex(unquoted.as_bytes())),
        );
    }
    if decodes && form != KeyForm::Hex {
        if stripped.is_none() {
            let what = "is used as text: the sender does not decode the base64";
            add("secret-base64-not-decoded", what, text(unquoted));
        }
    } else {
        let what = "is decoded from base64: the sender decodes it";
        add("secret-base64-decoded", what, one(decode_secret(unquoted)));
    }
    out
}

/// The ways in which common libraries write JSON, the likely ones first.
fn styles() -> Vec<Style> {
    let mut out = Vec::new();
    for sorted in [false, true] {
        for (ascii, slash) in [(false, false), (true, false), (true, true), (false, true)] {
            for gap in [Gap::None, Gap::Space] {
                out.push(Style {
                    gap,
                    sorted,
                    ascii,
                    slash,
                });
            }
        }
    }
    out.extend([2, 4].map(|width| Style {
        gap: Gap::Lines(width),
        ..Style::COMPACT
    }));
    out
}

fn how(style: Style) -> String {
    let mut words = vec![match style.gap {
        Gap::None => "without blanks",
        Gap::Space => "with blanks after : and ,",
        Gap::Lines(_) => "in indented lines",
    }];
    words.extend(style.sorted.then_some("names sorted"));
    words.extend(style.ascii.then_some("non-ASCII as \\u"));
    words.extend(style.slash.then_some("/ as \\/"));
    words.join(", ")
}
