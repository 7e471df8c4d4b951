//! `client replay ID…` and `client replay --failed`.

use crate::failure::{Exit, Failure};
use crate::origin::Address;
use crate::records::Records;
use crate::text::visible;
use capture::Query;
use clap::Args;
use serde_json::{Value, json};

/// Flags of `client replay`.
#[derive(Args, Debug)]
pub struct Replay {
    /// Deliveries, by id, or its beginning or end
    #[arg(value_name = "ID", required_unless_present_any = ["failed", "filter"])]
    ids: Vec<String>,
    /// All whose newest attempt failed
    #[arg(long)]
    failed: bool,
    /// All that contain FILTER in method, path, provider, event, sender or id
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Send to this app instead, when no client runs
    #[arg(long, value_name = "ORIGIN")]
    to: Option<String>,
    /// Say what would be replayed, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail with code 6 unless every answer is of this class or status, such as 2xx or 204
    #[arg(long, value_name = "STATUS")]
    expect: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Look into this folder of recorded requests
    #[arg(long, value_name = "PATH", env = "ADIT_STORE")]
    store: Option<String>,
}

/// Replays, one after the other.
///
/// # Errors
///
/// [`Exit::Failed`] when one could not be replayed or got no answer, [`Exit::Unmet`] when an answer
/// is not as expected. Without `--expect` any answer will do.
pub async fn run(flags: Replay) -> Result<(), Failure> {
    let to = match &flags.to {
        None => None,
        Some(text) => Some(Address::parse(text).map_err(|what| Failure::new(Exit::Usage, what))?),
    };
    if let Some(expect) = &flags.expect {
        let fits = expect.len() == 3
            && expect.starts_with(|c: char| c.is_ascii_digit())
            && (expect.ends_with("xx") || expect.parse::<u16>().is_ok());
        if !fits {
            return Err(
                Failure::new(Exit::Usage, format!("{expect:?} is no status"))
                    .hint("give a class or a status: 2xx, 204"),
            );
        }
    }
    let records = Records::open(flags.store.as_deref()).await?;
    let mut ids = flags.ids.clone();
    if flags.failed || flags.filter.is_some() {
        let query = Query {
            limit: 10_000,
            failed_only: flags.failed,
            text: flags.filter.clone(),
        };
        let mut found = records.list(query).await?;
        let all = found.len();
        found.retain(|delivery| records.is_ours(delivery));
        if found.len() < all {
            eprintln!(
                "note: {} of another app were left out; replay them from its own client",
                all - found.len()
            );
        }
        ids.extend(
            found
                .iter()
                .filter_map(|d| d["id"].as_str().map(str::to_owned)),
        );
    }
    if ids.is_empty() {
        if !flags.json {
            println!("nothing to replay");
        }
        return Ok(());
    }
    let (mut broken, mut unmet, mut unanswered) = (0, 0, 0);
    for id in &ids {
        if flags.dry_run {
            println!("{}", super::list::line(&records.delivery(id).await?));
            continue;
        }
        match records.replay(id, to.as_ref()).await {
            Ok(attempt) => {
                let met = flags.expect.as_deref().is_none_or(|e| meets(&attempt, e));
                unmet += usize::from(!met);
                unanswered += usize::from(!attempt["cause"].is_null());
                print(flags.json, id, &attempt);
            }
            Err(failure) if ids.len() > 1 => {
                broken += 1;
                failure.print();
            }
            Err(failure) => return Err(failure),
        }
    }
    if broken > 0 {
        return Err(Failure::new(
            Exit::Failed,
            format!("{broken} of {} were not replayed", ids.len()),
        ));
    }
    if unmet > 0 {
        return Err(Failure::new(
            Exit::Unmet,
            format!(
                "{unmet} of {} answers are not {}",
                ids.len(),
                flags.expect.unwrap_or_default()
            ),
        ));
    }
    if unanswered > 0 {
        return Err(Failure::new(
            Exit::Failed,
            format!("the app gave no answer to {unanswered} of {}", ids.len()),
        ));
    }
    Ok(())
}

fn meets(attempt: &Value, expect: &str) -> bool {
    let Some(status) = attempt["status"]
        .as_u64()
        .filter(|_| attempt["cause"].is_null())
    else {
        return false;
    };
    match expect.strip_suffix("xx") {
        Some(class) => class == (status / 100).to_string(),
        None => expect == status.to_string(),
    }
}

fn print(as_json: bool, id: &str, attempt: &Value) {
    if as_json {
        let mut value = json!({ "type": "response", "delivery": id });
        if let (Some(to), Some(from)) = (value.as_object_mut(), attempt.as_object()) {
            to.extend(from.clone());
        }
        println!("{}", crate::json::line(&value));
        return;
    }
    let ms = attempt["ms"].as_f64().unwrap_or(0.0);
    let end = match (attempt["cause"].as_str(), attempt["status"].as_u64()) {
        (Some(cause), _) => {
            format!(
                "{cause}: {}",
                visible(attempt["error"].as_str().unwrap_or_default())
            )
        }
        (None, Some(status)) => status.to_string(),
        (None, None) => String::from("pending"),
    };
    println!("{id}  attempt {}  {end} in {ms:.1} ms", attempt["attempt"]);
}
