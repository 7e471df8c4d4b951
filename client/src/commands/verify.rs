//! `client verify`: judges a request from a file.

use crate::failure::{Exit, Failure};
use crate::secrets;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use capture::Timestamp;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use signature::{Catalogue, Context, Keys, Message, Provider, Secret};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Flags of `client verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// The provider [default: recognised by headers]
    provider: Option<String>,
    /// A raw HTTP request, or JSON with method, url, headers and body_base64; - for stdin
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Judge by the row in FILE instead of a built-in provider
    #[arg(long, value_name = "FILE.toml")]
    scheme: Option<PathBuf>,
    /// The public URL that the sender signed
    #[arg(long, value_name = "U")]
    url: Option<String>,
    /// Judge as if the request had come at this time, in Unix seconds [default: the file's, else now]
    #[arg(long, value_name = "UNIX")]
    now: Option<i64>,
    /// Where the secret comes from; repeatable
    #[arg(long, value_name = "SOURCE")]
    secret: Vec<String>,
    /// Print one JSON line
    #[arg(long)]
    json: bool,
}

/// The JSON form.
#[derive(Deserialize)]
struct File {
    provider: Option<String>,
    method: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body_base64: String,
    now: Option<i64>,
    secret: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
    public_key: Option<String>,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// Longer requests are refused; webhooks have kilobytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Judges and prints the verdict. A verdict that was reached is success, whatever it is.
///
/// # Errors
///
/// When no verdict could be reached.
pub fn run(flags: Verify) -> Result<(), Failure> {
    let shown = flags.request.display().to_string();
    let unreadable = |error: &std::io::Error| {
        Failure::new(Exit::Failed, format!("{shown} cannot be read")).because(error)
    };
    let mut bytes = Vec::new();
    let read: Box<dyn std::io::Read> = match shown.as_str() {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(&flags.request).map_err(|error| unreadable(&error))?),
    };
    std::io::Read::read_to_end(&mut std::io::Read::take(read, LONGEST), &mut bytes)
        .map_err(|error| unreadable(&error))?;
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    let file = if is_json {
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Exit::Failed, format!("{shown} is not a request in JSON")).because(&error)
        })?
    } else {
        raw(&bytes).map_err(|what| {
            Failure::new(Exit::Failed, format!("{shown}: {what}")).hint(
                "a raw request is what was on the wire, with CRLF line ends (client show ID --raw prints one); or give JSON",
            )
        })?
    };
    let body = STANDARD.decode(&file.body_base64).map_err(|error| {
        Failure::new(Exit::Failed, format!("{shown}: body_base64 is not base64")).because(&error)
    })?;
    let headers: Vec<(&[u8], &[u8])> = file
        .headers
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();

    let catalogue = Catalogue::builtin();
    let from_file;
    let name = flags.provider.as_deref().or(file.provider.as_deref());
    let provider: Option<&Provider> = match (&flags.scheme, name) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Exit::Failed, format!("{} cannot be read", path.display()))
                    .because(&error)
            })?;
            let name = name.unwrap_or("scheme");
            from_file = Provider::parse(name, &text)
                .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
            Some(&from_file)
        }
        (None, Some(name)) => Some(
            catalogue
                .get(name)
                .ok_or_else(|| crate::rules::unknown_provider(&catalogue, name))?,
        ),
        (None, None) => catalogue.detect(&headers),
    };
    let mut texts = Vec::new();
    for source in &flags.secret {
        texts.push(secrets::source(source)?);
    }
    if texts.is_empty() {
        texts.extend(file.secret.iter().chain(&file.secrets).cloned());
    }
    if texts.is_empty()
        && let Some(provider) = provider
        && let Ok(value) = std::env::var(secrets::variable(provider.name()))
    {
        texts.push(value);
    }
    let keys = Keys {
        secrets: texts.into_iter().map(Secret::new).collect(),
        public_key: file.public_key,
        config: file.config,
    };
    let url = flags.url.or(file.url).unwrap_or_default();
    let method = file.method.unwrap_or_else(|| String::from("POST"));
    let at = flags
        .now
        .or(file.now)
        .unwrap_or_else(|| Timestamp::now().unix_seconds());
    let message = Message {
        method: &method,
        url: &url,
        headers: &headers,
        body: &body,
        at,
    };
    let mut judgement = match provider {
        Some(provider) => provider.verify(&message, &keys),
        None => signature::Judgement::none(),
    };
    if let Some(provider) = provider {
        judgement.hint = provider.explain(&message, &keys, &Context::default());
    }
    if flags.json {
        let hint = judgement.hint.as_ref();
        println!(
            "{}",
            json!({
                "verdict": judgement.verdict.as_str(), "why": judgement.why,
                "reading": judgement.reading, "provider": judgement.provider,
                "secret": judgement.secret, "hint": hint.map(|h| &h.sentence),
                "hint_code": hint.map(|h| &h.code),
            })
        );
        return Ok(());
    }
    let name = judgement.provider.as_deref().unwrap_or("no known provider");
    println!("{}  {name}", judgement.verdict.as_str());
    for (title, text) in [
        ("reading", judgement.reading.as_ref()),
        ("why", judgement.why.as_ref()),
        ("hint", judgement.hint.as_ref().map(|hint| &hint.sentence)),
    ] {
        if let Some(text) = text {
            println!("{title}: {}", crate::failure::visible(text));
        }
    }
    Ok(())
}

/// Reads a raw HTTP request. The body is all that follows the head.
fn raw(bytes: &[u8]) -> Result<File, String> {
    let mut buf = BytesMut::from(bytes);
    let request = proxy::http1::parse_request(&mut buf)
        .map_err(|refusal| refusal.to_string())?
        .ok_or("the request's head does not end")?;
    let mut decoder = proxy::http1::BodyDecoder::of(request.head.framing.length);
    let mut body = Vec::new();
    while let Some(part) = decoder
        .next(&mut buf)
        .map_err(|refusal| refusal.to_string())?
    {
        if let proxy::http1::BodyPart::Data(data) = part {
            body.extend_from_slice(&data);
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(File {
        provider: None,
        method: Some(text(&request.head.method)),
        url: Some(format!(
            "https://{}{}",
            request.authority,
            text(&request.head.target)
        )),
        headers: request
            .head
            .fields
            .iter()
            .map(|(n, v)| (text(n), text(v)))
            .collect(),
        body_base64: STANDARD.encode(&body),
        now: None,
        secret: None,
        secrets: Vec::new(),
        public_key: None,
        config: BTreeMap::new(),
    })
}
