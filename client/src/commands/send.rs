//! `client send PROVIDER EVENT --to URL|NAME`.

use crate::events;
use crate::failure::{Exit, Failure, visible};
use crate::http::{Trust, Url};
use crate::records;
use crate::secrets;
use crate::sender::{Progress, Sender, Sent};
use crate::state::State;
use crate::text::duration;
use capture::Timestamp;
use clap::Args;
use serde_json::json;
use signature::{Catalogue, Secret};
use std::path::PathBuf;

/// Flags of `client send`.
#[derive(Args, Debug)]
pub struct Send {
    /// The provider, such as cloudvno
    provider: String,
    /// The event, such as message.delivered or just delivered
    event: String,
    /// A URL, or the name of a tunnel of a running client
    #[arg(long, value_name = "URL|NAME")]
    to: String,
    #[arg(
        long,
        value_name = "SOURCE",
        help = "Where the secret comes from: env:NAME, file:PATH, - (prompt) or the value [env: ADIT_SECRET_<PROVIDER>]"
    )]
    secret: Option<String>,
    /// Send without a signature
    #[arg(long, conflicts_with = "secret")]
    unsigned: bool,
    /// Replace or add a field; repeatable
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Send the bytes of FILE instead of the event's fields
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    body: Option<PathBuf>,
    /// Try again as the provider does, until a 2xx comes or it would give up
    #[arg(long)]
    retry: bool,
    /// Divide the provider's delays by F: 60 makes minutes seconds
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    time_scale: f64,
    /// Trust the private CA in FILE too
    #[arg(long, value_name = "FILE", env = "ADIT_RELAY_CA")]
    relay_ca: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Sends one event.
///
/// # Errors
///
/// [`Exit::Failed`] when no 2xx came.
pub async fn run(flags: Send) -> Result<(), Failure> {
    let usage = |what: String| Failure::new(Exit::Usage, what);
    let catalogue = Catalogue::builtin();
    let provider = catalogue
        .get(&flags.provider)
        .ok_or_else(|| crate::rules::unknown_provider(&catalogue, &flags.provider))?;
    let event = events::find(provider.name(), &flags.event)?;
    if !(flags.time_scale.is_finite() && flags.time_scale > 0.0) {
        return Err(usage(format!(
            "{} is no factor to divide delays by",
            flags.time_scale
        )));
    }
    let mut set = Vec::new();
    for pair in &flags.set {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            usage(format!("{pair:?} is not FIELD=VALUE")).hint("--set Price=-0.02")
        })?;
        set.push((name.to_owned(), value.to_owned()));
    }
    let (body, content_type) = match &flags.body {
        None => (event.form(&set), "application/x-www-form-urlencoded"),
        Some(path) => {
            let body = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Exit::Failed, format!("{} cannot be read", path.display()))
                    .because(&error)
            })?;
            let is_json = path
                .extension()
                .is_some_and(|extension| extension == "json");
            let kind = if is_json {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            (body, kind)
        }
    };
    let (url, trust) = resolve(&flags).await?;
    let secret = secret(&flags, provider.name())?;
    let sender = Sender {
        provider,
        secret: secret.as_ref(),
        url,
        trust,
        retry: flags.retry,
        time_scale: flags.time_scale,
    };
    let mut last = None;
    let sent = sender
        .send(&body, content_type, |progress| {
            if let Progress::Tried {
                answer: Err(error), ..
            } = &progress
            {
                last = Some(Failure::from_error(Exit::Failed, *error).lines().join("\n"));
            }
            print(flags.json, &event.name, &sender.url, &progress);
        })
        .await
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    match sent {
        Sent::Delivered(_) => Ok(()),
        Sent::Failed(tries) if flags.retry => Err(Failure::new(
            Exit::Failed,
            format!(
                "no 2xx after {tries} tries: {} would mark it as failed",
                provider.title()
            ),
        )),
        Sent::Failed(_) => {
            let failure = Failure::new(Exit::Failed, format!("{} got no 2xx", event.name));
            Err(match last {
                Some(_) => failure.hint("is the tunnel up? See client list; or try again as the provider does with --retry"),
                None => failure.hint("with --retry it is tried again as the provider does"),
            })
        }
    }
}

async fn resolve(flags: &Send) -> Result<(Url, Trust), Failure> {
    let mut trust = Trust::web();
    if let Some(path) = &flags.relay_ca {
        trust = trust
            .and(path)
            .map_err(|what| Failure::new(Exit::Configuration, what))?;
    }
    let is_url = flags.to.contains("://");
    let state = State::open()?;
    let text = if is_url {
        flags.to.clone()
    } else {
        let running = records::running(state.folder()).await;
        let found = running.filter(|running| running.name.as_deref() == Some(&flags.to));
        let running = found.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!(
                    "{:?} is no URL, and no running client has that name",
                    flags.to
                ),
            )
            .hint("give the whole URL: --to https://…/webhook")
        })?;
        if let Some(ca) = &running.ca {
            trust = trust
                .and(ca)
                .map_err(|what| Failure::new(Exit::Configuration, what))?;
        }
        format!("{}/webhook", running.url.unwrap_or_default())
    };
    let url = Url::parse(&text).map_err(|what| Failure::new(Exit::Usage, what))?;
    // The embedded relay's CA is this user's own, for names that are this machine.
    let ca = state.embedded_relay().join("ca.pem");
    if url.tls && url.host.ends_with("localhost") && ca.exists() {
        trust = trust
            .and(&ca)
            .map_err(|what| Failure::new(Exit::Configuration, what))?;
    }
    Ok((url, trust))
}

fn secret(flags: &Send, provider: &str) -> Result<Option<Secret>, Failure> {
    if flags.unsigned {
        return Ok(None);
    }
    let variable = secrets::variable(provider);
    let text = match &flags.secret {
        Some(source) => secrets::source(source)?,
        None => std::env::var(&variable)
            .ok()
            .filter(|v| !v.is_empty())
            .ok_or_else(|| {
                Failure::new(
                    Exit::Configuration,
                    format!("there is no secret to sign {provider}'s event with"),
                )
                .hint(format!(
                    "set {variable}, give --secret SOURCE, or send it with --unsigned"
                ))
            })?,
    };
    Ok(Some(Secret::new(text)))
}

fn print(as_json: bool, event: &str, url: &Url, progress: &Progress<'_>) {
    if as_json {
        let value = match progress {
            Progress::Tried {
                number,
                of,
                answer,
                took,
            } => json!({
                "type": "sent", "event": event, "url": url.to_string(), "try": number, "of": of,
                "status": answer.as_ref().ok(), "ms": crate::json::ms(*took),
                "error": answer.as_ref().err().map(ToString::to_string),
            }),
            Progress::Waiting(wait) => json!({ "type": "waiting", "ms": crate::json::ms(*wait) }),
        };
        println!("{}", crate::json::line(&value));
        return;
    }
    let clock = Timestamp::now().local_clock();
    match progress {
        Progress::Tried {
            number,
            of,
            answer,
            took,
        } => {
            let answer = match answer {
                Ok(status) => status.to_string(),
                Err(error) => {
                    let lines = Failure::from_error(Exit::Failed, *error).lines();
                    visible(&lines.join("; "))
                }
            };
            let tries = if *of > 1 {
                format!("  (try {number} of {of})")
            } else {
                String::new()
            };
            println!(
                "{clock}  {event} to {url}: {answer} in {}{tries}",
                duration(*took)
            );
        }
        Progress::Waiting(wait) => println!("{clock}  next try in {}", duration(*wait)),
    }
}
