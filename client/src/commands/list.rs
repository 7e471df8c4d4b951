//! `client list`: recorded deliveries, newest last.

use crate::failure::{Exit, Failure};
use crate::json;
use crate::records::Records;
use crate::text::visible;
use capture::Query;
use clap::Args;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Flags of `client list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those that contain this in method, path, provider, event, sender or id
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Only those whose newest attempt failed
    #[arg(long)]
    failed: bool,
    /// At most N, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on with what changes
    #[arg(long)]
    follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Look into this folder of recorded requests
    #[arg(long, value_name = "PATH", env = "ADIT_STORE")]
    store: Option<String>,
}

/// Following looks again so often.
const LOOK: Duration = Duration::from_millis(500);

/// Prints what is recorded.
///
/// # Errors
///
/// When the records cannot be read.
pub async fn run(flags: List) -> Result<(), Failure> {
    let records = Records::open(flags.store.as_deref()).await?;
    let query = Query {
        limit: flags.limit,
        failed_only: flags.failed,
        text: flags.filter.clone(),
    };
    let mut seen: HashMap<String, String> = HashMap::new();
    loop {
        for delivery in records.list(query.clone()).await? {
            let id = delivery["id"].as_str().unwrap_or_default().to_owned();
            let text = json::line(&delivery);
            if seen.get(&id) == Some(&text) {
                continue;
            }
            let line = if flags.json {
                text.clone()
            } else {
                line(&delivery)
            };
            seen.insert(id, text);
            if let Err(error) = writeln!(std::io::stdout(), "{line}") {
                return match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Ok(()),
                    _ => Err(Failure::from_error(Exit::Failed, &error)),
                };
            }
        }
        if !flags.follow {
            if seen.is_empty() && std::io::stderr().is_terminal() {
                eprintln!("nothing is recorded that fits");
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `id  time  provider  event or request  status  signature  tries  ms`
pub fn line(delivery: &Value) -> String {
    let text = |key: &str| visible(delivery[key].as_str().unwrap_or("-")).into_owned();
    let what = match delivery["event"].as_str() {
        Some(event) => visible(event).into_owned(),
        None => format!("{} {}", text("method"), text("path")),
    };
    let status = match (delivery["cause"].as_str(), delivery["status"].as_u64()) {
        (Some(cause), Some(status)) => format!("{status} {cause}"),
        (Some(cause), None) => cause.to_owned(),
        (None, Some(status)) => status.to_string(),
        (None, None) => String::from("pending"),
    };
    let tries = delivery["attempts"].as_array().map_or(0, Vec::len);
    let ms = delivery["ms"]
        .as_f64()
        .map_or(String::from("-"), |ms| format!("{ms:.0} ms"));
    format!(
        "{}  {}  {:10} {:28} {:<16} {:10} {tries}x  {ms}",
        text("id"),
        text("at").get(..19).unwrap_or("-"),
        text("provider"),
        what,
        status,
        text("signature"),
    )
}
