//! `client show ID`: one delivery, whole.

use crate::failure::{Exit, Failure};
use crate::records::Records;
use crate::text::{visible, visible_bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;
use std::io::Write;

/// Flags of `client show`.
#[derive(Args, Debug)]
pub struct Show {
    /// The id of a delivery or request, or its beginning or end
    id: String,
    /// Print the request as it was on the wire
    #[arg(long, group = "what")]
    raw: bool,
    /// Print a curl command that sends it again
    #[arg(long, group = "what")]
    curl: bool,
    /// Print the request's body, byte for byte
    #[arg(long, group = "what")]
    body: bool,
    /// Print what is known of the signature
    #[arg(long, group = "what")]
    signature: bool,
    /// Print everything as one JSON object
    #[arg(long, group = "what")]
    json: bool,
    /// Show attempt N [default: the newest]
    #[arg(long, value_name = "N")]
    attempt: Option<u64>,
    /// Look into this folder of recorded requests
    #[arg(long, value_name = "PATH", env = "ADIT_STORE")]
    store: Option<String>,
}

/// Prints one delivery.
///
/// # Errors
///
/// When it is not there, or stdout cannot be written.
pub async fn run(flags: Show) -> Result<(), Failure> {
    let records = Records::open(flags.store.as_deref()).await?;
    let delivery = records.delivery(&flags.id).await?;
    let id = delivery["id"].as_str().unwrap_or_default();
    let attempts = delivery["attempts"].as_array().cloned().unwrap_or_default();
    // The id of one request of several shows that request.
    let matched = delivery["matched"]
        .as_str()
        .filter(|matched| *matched != id);
    let of_request = attempts
        .iter()
        .find(|a| matched.is_some() && a["id"].as_str() == matched);
    let n = flags
        .attempt
        .or_else(|| of_request.and_then(|a| a["attempt"].as_u64()))
        .unwrap_or(attempts.len() as u64);
    let detail = records.attempt(id, n).await?;
    let decode = |value: &Value| {
        STANDARD
            .decode(value.as_str().unwrap_or_default())
            .unwrap_or_default()
    };
    let request = &detail["request"];
    let out: Vec<u8> = if flags.json {
        let mut value = delivery.clone();
        value["shown"] = detail.clone();
        format!("{}\n", crate::json::line(&value)).into_bytes()
    } else if flags.raw {
        decode(&request["raw_base64"])
    } else if flags.body {
        decode(&request["body_base64"])
    } else if flags.curl {
        let ca = records.ca().map(|ca| ca.display().to_string());
        curl(request, &decode(&request["body_base64"]), ca.as_deref()).into_bytes()
    } else if flags.signature {
        signature(&detail["attempt"], &delivery).into_bytes()
    } else {
        page(&delivery, &attempts, n, &detail, &decode).into_bytes()
    };
    match std::io::stdout().write_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::from_error(Exit::Failed, &error))
        }
        _ => Ok(()),
    }
}

fn signature(attempt: &Value, delivery: &Value) -> String {
    let mut text = format!(
        "signature  {}\nprovider   {}\n",
        attempt["signature"].as_str().unwrap_or("none"),
        visible(delivery["provider"].as_str().unwrap_or("-")),
    );
    if let Some(n) = attempt["secret"].as_u64() {
        text.push_str(&format!("secret     number {n} matched\n"));
    }
    for (key, name) in [
        ("reading", "reading  "),
        ("why", "why      "),
        ("hint", "hint     "),
    ] {
        if let Some(value) = attempt[key].as_str() {
            text.push_str(&format!("{name}  {}\n", visible(value)));
        }
    }
    text
}

fn page(
    delivery: &Value,
    attempts: &[Value],
    n: u64,
    detail: &Value,
    decode: &dyn Fn(&Value) -> Vec<u8>,
) -> String {
    let request = &detail["request"];
    let text = |value: &Value| visible(value.as_str().unwrap_or("-")).into_owned();
    let mut out = format!(
        "{}  {} {}  from {}\n{}\n\n",
        text(&delivery["id"]),
        text(&request["method"]),
        text(&request["url"]),
        text(&request["remote"]),
        text(&request["at"]),
    );
    out.push_str(&signature(&detail["attempt"], delivery));
    out.push_str("\nattempts\n");
    for attempt in attempts {
        let mark = if attempt["attempt"].as_u64() == Some(n) {
            ">"
        } else {
            " "
        };
        let ms = attempt["ms"]
            .as_f64()
            .map_or(String::from("-"), |ms| format!("{ms:.1} ms"));
        let end = match (attempt["cause"].as_str(), attempt["status"].as_u64()) {
            (Some(cause), _) => format!("{cause}: {}", text(&attempt["error"])),
            (None, Some(status)) => status.to_string(),
            (None, None) => String::from("pending"),
        };
        out.push_str(&format!(
            "{mark} {}  {}  {:7} {end}  {ms}\n",
            attempt["attempt"],
            text(&attempt["at"]),
            text(&attempt["trigger"]),
        ));
    }
    if let Some(at) = delivery["retry"]["at"].as_str() {
        out.push_str(&format!(
            "  next retry {} of {} expected at {at}\n",
            delivery["retry"]["number"], delivery["retry"]["of"]
        ));
    }
    message(&mut out, "request", request, decode);
    if detail["response"].is_object() {
        let title = format!("response {}", detail["response"]["status"]);
        message(&mut out, &title, &detail["response"], decode);
    }
    out
}

fn message(out: &mut String, title: &str, message: &Value, decode: &dyn Fn(&Value) -> Vec<u8>) {
    out.push_str(&format!("\n{title}\n"));
    for field in message["headers"].as_array().into_iter().flatten() {
        let part = |i: usize| visible(field[i].as_str().unwrap_or_default()).into_owned();
        out.push_str(&format!("  {}: {}\n", part(0), part(1)));
    }
    let trailers = message["trailers"].as_array().cloned().unwrap_or_default();
    let body = decode(&message["body_base64"]);
    let whole = message["body_bytes"].as_u64() == Some(body.len() as u64);
    if !body.is_empty() {
        out.push('\n');
        for line in body.split(|b| *b == b'\n') {
            out.push_str(&format!("  {}\n", visible_bytes(line)));
        }
    }
    for field in &trailers {
        let part = |i: usize| visible(field[i].as_str().unwrap_or_default()).into_owned();
        out.push_str(&format!("  (trailer) {}: {}\n", part(0), part(1)));
    }
    if !whole || message["body_whole"] == Value::Bool(false) {
        out.push_str(&format!(
            "  ({} of {} bytes were kept)\n",
            body.len(),
            message["body_bytes"]
        ));
    }
}

fn curl(request: &Value, body: &[u8], ca: Option<&str>) -> String {
    let fields = request["headers"].as_array().into_iter().flatten();
    let part = |field: &'_ Value, i: usize| -> Vec<u8> {
        field[i].as_str().unwrap_or_default().as_bytes().to_vec()
    };
    let fields: Vec<(Vec<u8>, Vec<u8>)> = fields.map(|f| (part(f, 0), part(f, 1))).collect();
    let method = request["method"].as_str().unwrap_or("POST");
    let url = request["url"].as_str().unwrap_or_default();
    let fields = fields.iter().map(|(n, v)| (&n[..], &v[..]));
    let mut out = crate::curl::command(method.as_bytes(), url, fields, body, ca);
    out.push('\n');
    out
}
