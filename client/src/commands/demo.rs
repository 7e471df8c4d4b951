//! `client demo`: relay, tunnel, a sample app and a sender, in one process.

use super::http::{Http, serve, up};
use crate::failure::{Exit, Failure};
use crate::http::{Trust, Url};
use crate::sample::{SampleApp, TIME_SCALE, traffic};
use clap::Args;
use signature::Secret;

/// Flags of `client demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Print one line per change instead of the terminal UI
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Print NDJSON
    #[arg(long)]
    json: bool,
}

/// The demo's secret. It guards nothing but the sample app.
const SECRET: &str = "adit-demo-token";

/// Runs until it is stopped.
///
/// # Errors
///
/// As `client http`.
pub async fn run(flags: Demo) -> Result<(), Failure> {
    let app = SampleApp::spawn()
        .await
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    let http = Http {
        origin: app.address.to_string(),
        verify: vec![String::from("/webhook=cloudvno")],
        secret: vec![format!("cloudvno={SECRET}")],
        host_header: String::from("preserve"),
        transport: String::from("auto"),
        name: Some(String::from("demo")),
        // What the demo shows is not the user's traffic.
        store: Some(String::from("off")),
        time_scale: Some(TIME_SCALE),
        plain: flags.plain,
        json: flags.json,
        ..Http::default()
    };
    let face = http.face();
    let up = up(http).await?;
    let url = Url::parse(&format!("{}/webhook", up.url))
        .map_err(|what| Failure::new(Exit::Failed, what))?;
    let trust = match &up.ca {
        Some(ca) => Trust::only(ca).map_err(|what| Failure::new(Exit::Configuration, what))?,
        None => Trust::web(),
    };
    let beside = traffic(url, trust, Secret::new(SECRET.to_owned()));
    let ended = serve(up, face, Some(Box::pin(beside))).await;
    drop(app);
    ended
}
