//! The commands of `relay`, their flags, and what they print.

use clap::{Args, Parser, Subcommand};
use relay::access::new_token;
use relay::config::File;
use relay::store::{Store, unix_now};
use relay::{Config, Relay, StartError, Tls};
use serde_json::json;
use std::error::Error;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(
    name = "relay",
    version,
    about = "The public side of Adit: HTTPS in, tunnels out"
)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTPS and tunnels
    Serve(Serve),
    /// Add, list and revoke the tokens that clients come in with
    #[command(subcommand)]
    Token(Token),
}

#[derive(Args)]
struct Serve {
    /// Read settings from FILE; flags win over it
    #[arg(long, value_name = "FILE", env = "ADIT_RELAY_CONFIG")]
    config: Option<PathBuf>,
    /// Serve names under DOMAIN [default: localhost]
    #[arg(long, value_name = "DOMAIN", env = "ADIT_DOMAIN")]
    domain: Option<String>,
    /// Listen on ADDR, TCP and UDP; repeatable [default: 127.0.0.1:8443 for localhost, else 0.0.0.0:443]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    state: State,
    /// Take the certificate from a private CA (self-signed) or from --cert and --key (files) [default: files when --cert is given, else self-signed]
    #[arg(long, value_name = "MODE", value_parser = ["self-signed", "files"])]
    tls: Option<String>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve /healthz and /readyz on ADDR, or `off` [default: 127.0.0.1:9443]
    #[arg(long, value_name = "ADDR|off")]
    admin: Option<String>,
    /// Let clients in without a token; refused unless every listener is on loopback
    #[arg(long)]
    open: bool,
    /// Print one JSON line on stdout once all sockets are bound
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct State {
    /// Keep everything in DIR [default: systemd's StateDirectory, else adit-relay in the user's data folder]
    #[arg(long, value_name = "DIR", env = "ADIT_RELAY_STATE")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Token {
    /// Make a token and print it once; only its hash is kept
    Add {
        /// A label, such as the owner's name
        name: String,
        /// Allow only names that match PATTERN (`*` for any run of characters); repeatable
        #[arg(long = "name", value_name = "PATTERN")]
        patterns: Vec<String>,
        /// Allow at most N names at once; 0 for no bound
        #[arg(long, value_name = "N", default_value_t = 0)]
        max_tunnels: u32,
        /// End after DUR, such as 30d, 12h
        #[arg(long, value_name = "DUR", value_parser = duration)]
        expires: Option<Duration>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        state: State,
    },
    /// List tokens by label; never the tokens themselves
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        state: State,
    },
    /// Revoke a token by its label; sessions that use it end within seconds
    Revoke {
        /// The label
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        state: State,
    },
}

/// What went wrong, for a person: error, causes, hint, and the exit code of the contract.
struct Failure {
    error: String,
    causes: Vec<String>,
    hint: Option<String>,
    code: u8,
}

const FAILED: u8 = 1;
const CONFIGURATION: u8 = 3;

impl Failure {
    fn new(code: u8, error: &dyn Error) -> Failure {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Failure {
            error: error.to_string(),
            causes,
            hint: None,
            code,
        }
    }

    fn said(code: u8, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure {
            error: error.into(),
            causes: Vec::new(),
            hint: Some(hint.into()),
            code,
        }
    }

    fn print(&self) {
        eprintln!("error: {}", self.error);
        for cause in &self.causes {
            eprintln!("cause: {cause}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }
}

/// Parses, runs, and turns the outcome into an exit code.
pub(crate) fn run() -> ExitCode {
    let outcome = match Flags::parse().command {
        Command::Serve(serve) => self::serve(serve),
        Command::Token(token) => self::token(token),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn serve(flags: Serve) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("ADIT_LOG").unwrap_or_else(|_| "info".into()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    relay::limits::raise_files();
    let as_json = flags.json;
    let config = config(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, &error))?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(FAILED, &error))?;
        let state = config.state.clone();
        let open = config.open;
        let relay = Relay::spawn(config)
            .await
            .map_err(|error| start_failure(&error))?;
        announce(&relay, &state, open, as_json);
        while signals.next().await == Asked::Reload {
            reload(&relay);
        }
        tracing::info!("draining");
        let mut shutdown = std::pin::pin!(relay.shutdown(GRACE));
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                asked = signals.next() => if asked == Asked::End { return Ok(()) },
            }
        }
    })
}

fn reload(relay: &Relay) {
    match relay.reload() {
        Ok(true) => tracing::info!("certificate read again; other settings change with a restart"),
        Ok(false) => tracing::warn!("nothing to read again: settings change with a restart"),
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(%error, cause, "certificate not read again, the old one stays in use");
        }
    }
}

/// What runs has so long to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

fn announce(relay: &Relay, state: &Path, open: bool, as_json: bool) {
    let Some(address) = relay.addrs().first() else {
        return;
    };
    if as_json {
        println!(
            "{}",
            json!({
                "type": "ready",
                "domain": relay.domain(),
                "tcp": address.to_string(),
                "udp": address.to_string(),
                "admin": relay.admin().map(|a| a.to_string()),
                "ca": relay.ca().map(|path| path.display().to_string()),
            })
        );
        return;
    }
    println!(
        "relay ready: https://*.{} on {address} (TCP and UDP)",
        relay.domain()
    );
    if let Some(ca) = relay.ca() {
        println!(
            "private CA:  {} (clients: --relay-ca FILE, curl: --cacert FILE)",
            ca.display()
        );
    }
    if open {
        println!("open:        clients need no token; only this machine can reach it");
    } else {
        println!(
            "tokens:      relay token add NAME --state {}",
            state.display()
        );
    }
}

fn start_failure(error: &StartError) -> Failure {
    let code = match error {
        StartError::Listen(..) => FAILED,
        _ => CONFIGURATION,
    };
    let hint = match error {
        StartError::Listen(address, source) => match source.kind() {
            std::io::ErrorKind::AddrInUse => Some(format!(
                "see who holds it with: ss -lntup 'sport = :{}', or choose another with --listen",
                address.port()
            )),
            std::io::ErrorKind::PermissionDenied => Some(String::from(
                "ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose another with --listen",
            )),
            std::io::ErrorKind::AddrNotAvailable => Some(String::from(
                "this machine does not have that address: see ip address",
            )),
            _ => None,
        },
        StartError::OpenToAll(_) => Some(String::from(
            "leave --open out and make tokens with relay token add, or listen on 127.0.0.1 only",
        )),
        StartError::Tls(relay::TlsError::File(..) | relay::TlsError::Use(_)) => Some(String::from(
            "--cert takes the certificate and its chain, --key its private key, both as PEM",
        )),
        StartError::Store(relay::store::StoreError::Folder { .. }) => {
            Some(String::from("choose a folder of yours with --state"))
        }
        _ => None,
    };
    Failure {
        hint,
        ..Failure::new(code, error)
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    End,
    Reload,
}

/// SIGTERM and SIGINT end, SIGHUP reloads.
struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::End,
            _ = self.int.recv() => Asked::End,
            _ = self.hup.recv() => Asked::Reload,
        }
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Asked {
        let _ = tokio::signal::ctrl_c().await;
        Asked::End
    }
}

fn config(flags: Serve) -> Result<Config, Failure> {
    let file = match &flags.config {
        None => File::default(),
        Some(path) => File::read(path).map_err(|error| Failure {
            hint: error.hint.clone(),
            ..Failure::new(CONFIGURATION, &error)
        })?,
    };
    let domain = flags
        .domain
        .or(file.domain)
        .unwrap_or_else(|| String::from("localhost"));
    let labels_fit = domain.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    if !labels_fit || domain.len() > 200 {
        return Err(Failure::said(
            CONFIGURATION,
            format!("{domain:?} is not a domain"),
            "give it as in --domain tunnel.example.dev",
        ));
    }
    let mut listen = flags.listen;
    if listen.is_empty() {
        listen = file.listen.unwrap_or_default();
    }
    if listen.is_empty() {
        listen.push(match domain.as_str() {
            "localhost" => ([127, 0, 0, 1], 8443).into(),
            _ => ([0, 0, 0, 0], 443).into(),
        });
    }
    let cert = flags.cert.or(file.cert);
    let key = flags.key.or(file.key);
    let mode = flags.tls.or(file.tls);
    let tls = match (mode.as_deref(), cert, key) {
        (Some("self-signed") | None, None, None) => Tls::SelfSigned,
        (Some("files") | None, Some(cert), Some(key)) => Tls::Files { cert, key },
        (Some("files"), _, _) => {
            return Err(Failure::said(
                CONFIGURATION,
                "--tls files needs a certificate and its key",
                "give both: --cert fullchain.pem --key privkey.pem",
            ));
        }
        (Some(other), _, _) => {
            return Err(Failure::said(
                CONFIGURATION,
                format!("tls = {other:?} with these files makes no sense"),
                "use tls = \"self-signed\" alone, or tls = \"files\" with cert and key",
            ));
        }
        (None, _, _) => {
            return Err(Failure::said(
                CONFIGURATION,
                "a certificate without a key, or a key without a certificate",
                "give both: --cert fullchain.pem --key privkey.pem",
            ));
        }
    };
    let admin = match flags.admin.or(file.admin).as_deref() {
        Some("off") => None,
        None => Some(([127, 0, 0, 1], 9443).into()),
        Some(address) => Some(address.parse().map_err(|_| {
            Failure::said(
                CONFIGURATION,
                format!("{address:?} is no address to serve the admin listener on"),
                "give it as in --admin 127.0.0.1:9443, or --admin off",
            )
        })?),
    };
    Ok(Config {
        domain,
        listen,
        state: state_folder(flags.state.state.or(file.state))?,
        tls,
        admin,
        open: flags.open || file.open.unwrap_or(false),
    })
}

fn state_folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder);
    }
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    // systemd's StateDirectory= says where.
    if let Some(folder) = variable("STATE_DIRECTORY") {
        return Ok(folder);
    }
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("adit-relay"))
        .ok_or_else(|| {
            Failure::said(
                CONFIGURATION,
                "no folder to keep state in: HOME is not set",
                "give --state DIR",
            )
        })
}

fn open_store(state: State) -> Result<(Store, PathBuf), Failure> {
    let folder = state_folder(state.state)?;
    let store = Store::open(&folder).map_err(|error| Failure {
        hint: Some(String::from(
            "give the relay's own folder with --state, as its owner",
        )),
        ..Failure::new(CONFIGURATION, &error)
    })?;
    Ok((store, folder))
}

fn token(command: Token) -> Result<(), Failure> {
    let failed = |error: relay::store::StoreError| Failure::new(FAILED, &error);
    match command {
        Token::Add {
            name,
            patterns,
            max_tunnels,
            expires,
            json,
            state,
        } => {
            if name.is_empty() || name.len() > 80 || name.chars().any(char::is_control) {
                return Err(Failure::said(
                    2,
                    "a token's label has 1 to 80 characters, none of them a control character",
                    "relay token add alice",
                ));
            }
            if let Some(bad) = patterns.iter().find(|p| {
                p.is_empty()
                    || !p.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'*'
                    })
            }) {
                return Err(Failure::said(
                    2,
                    format!("{bad:?} matches no name"),
                    "names have a-z, digits and hyphens; * stands for any run of them: --name 'alice-*'",
                ));
            }
            let (store, folder) = open_store(state)?;
            let expires = expires
                .map(|e| unix_now().saturating_add(i64::try_from(e.as_secs()).unwrap_or(i64::MAX)));
            let (token, row) = new_token(&name, patterns, max_tunnels, expires).map_err(failed)?;
            if !store.add_token(&row).map_err(failed)? {
                return Err(Failure::said(
                    FAILED,
                    format!("there is a token with the label {name:?} already"),
                    "choose another label; a revoked one keeps its label, so that logs stay true",
                ));
            }
            if json {
                println!("{}", json!({ "name": name, "token": token }));
            } else {
                println!("{token}");
                let ca = match folder.join("ca.pem").exists() {
                    true => " --relay-ca ca.pem",
                    false => "",
                };
                eprintln!(
                    "Shown once. On the laptop: ADIT_TOKEN=… client http 3000 --relay HOST{ca}"
                );
            }
        }
        Token::List { json, state } => {
            let (store, _) = open_store(state)?;
            let tokens = store.tokens().map_err(failed)?;
            if json {
                let rows: Vec<_> = tokens
                    .iter()
                    .map(|t| {
                        json!({
                            "name": t.name, "id": t.id, "names": t.patterns,
                            "max_tunnels": t.max_tunnels, "created": t.created,
                            "expires": t.expires, "revoked": t.revoked,
                        })
                    })
                    .collect();
                println!("{}", json!({ "tokens": rows }));
                return Ok(());
            }
            for token in tokens {
                let state = match (token.revoked, token.expires) {
                    (Some(_), _) => "revoked",
                    (None, Some(at)) if at <= unix_now() => "expired",
                    _ => "good",
                };
                println!(
                    "{:24} {:8} adit_{}_…  {}",
                    token.name,
                    state,
                    token.id,
                    token.patterns.join(" ")
                );
            }
        }
        Token::Revoke { name, json, state } => {
            let (store, _) = open_store(state)?;
            if !store.revoke_token(&name).map_err(failed)? {
                return Err(Failure::said(
                    FAILED,
                    format!("there is no token {name:?} that could be revoked"),
                    "see them with: relay token list",
                ));
            }
            if json {
                println!("{}", json!({ "name": name, "revoked": true }));
            } else {
                println!("revoked: {name}");
            }
        }
    }
    Ok(())
}

/// Reads `90s`, `15m`, `12h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(String::from("give a number and a unit: 90s, 15m, 12h, 30d")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| String::from("give it as in 30d"))?;
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(|| String::from("that is too long"))
}
