//! `client http ORIGIN`: a public HTTPS name for a local HTTP app.

use crate::agent::{self, Agent};
use crate::config::File;
use crate::delivery::{Deliveries, Forwarding, HostHeader};
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::guard::OnInvalid;
use crate::http::Trust;
use crate::inspector::Inspector;
use crate::origin::{Address, Origin};
use crate::plain;
use crate::rules;
use crate::secrets;
use crate::signals::Signals;
use crate::state::{Running, State};
use crate::status::{self, Status};
use crate::tui;
use crate::web;
use capture::{Change, Store};
use clap::Args;
use relay::Relay;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tunnel::{Dialer, Target, Transport};
use wire::EndpointName;

/// Flags of `client http`.
#[derive(Args, Debug, Default)]
pub struct Http {
    /// The app: 3000, host:3000 or http://host:3000
    #[arg(value_name = "ORIGIN")]
    pub origin: String,
    /// Dial this relay; without one, an embedded relay serves this machine only
    #[arg(long, value_name = "HOST[:PORT]", env = "ADIT_RELAY")]
    pub relay: Option<String>,
    /// Trust the private CA in FILE for the relay [default: web PKI]
    #[arg(long, value_name = "FILE", env = "ADIT_RELAY_CA")]
    pub relay_ca: Option<PathBuf>,
    /// Come in with this token; a flag shows in ps, so prefer the variable or the config file
    #[arg(long, value_name = "T", env = "ADIT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Ask for this public name [default: the one this origin had before]
    #[arg(long, value_name = "NAME", alias = "subdomain")]
    pub name: Option<String>,
    /// Ask for this public URL: its first label is the name
    #[arg(long, value_name = "URL", conflicts_with = "name")]
    pub url: Option<String>,
    /// Check requests to PATH with PROVIDER's scheme; repeatable [default: recognised by headers]
    #[arg(long, value_name = "[PATH=]PROVIDER", alias = "verify-webhook")]
    pub verify: Vec<String>,
    #[arg(
        long,
        value_name = "[PROVIDER=]SOURCE",
        alias = "verify-webhook-secret",
        help = "Take a provider's secret from SOURCE: env:NAME, file:PATH, - (prompt) or the value; repeatable [env: ADIT_SECRET_<PROVIDER>]"
    )]
    pub secret: Vec<String>,
    /// Forward and mark requests with a bad signature, or answer 401 [default: flag]
    #[arg(long, value_name = "flag|reject", value_parser = ["flag", "reject"])]
    pub on_invalid: Option<String>,
    /// Give the app the sender's Host, its own (rewrite), or VALUE
    #[arg(
        long,
        value_name = "preserve|rewrite|VALUE",
        default_value = "preserve"
    )]
    pub host_header: String,
    /// Add a header to every request; repeatable
    #[arg(long, value_name = "K: V")]
    pub request_header_add: Vec<String>,
    /// Take a header from every request; repeatable
    #[arg(long, value_name = "K")]
    pub request_header_remove: Vec<String>,
    /// Serve the local inspector on ADDR, or off [default: 127.0.0.1:4040, next free if taken]
    #[arg(long, value_name = "ADDR|off")]
    pub inspect: Option<String>,
    /// Reach the relay over quic, over tcp, or over tcp only while quic does not work (auto)
    #[arg(long, value_name = "T", default_value = "auto", value_parser = ["auto", "quic", "tcp"])]
    pub transport: String,
    /// Wait so long for the app's response head, such as 10s or 1m [default: the provider's limit, else 30s]
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Keep recorded requests in PATH, or off [default: the platform's data folder]
    #[arg(long, value_name = "PATH|off", env = "ADIT_STORE")]
    pub store: Option<String>,
    /// Serve the embedded relay on ADDR [default: 127.0.0.1:8443, next free if taken]
    #[arg(long, value_name = "ADDR", conflicts_with = "relay")]
    pub embedded_listen: Option<SocketAddr>,
    /// Of the demo: how much faster its provider retries.
    #[arg(skip)]
    pub time_scale: Option<f64>,
    /// Print one line per change instead of the terminal UI
    #[arg(long, conflicts_with = "json")]
    pub plain: bool,
    /// Print NDJSON on stdout and nothing else there
    #[arg(long)]
    pub json: bool,
    /// Do not open the terminal UI; as --plain
    #[arg(long)]
    pub no_tui: bool,
    /// Write the log to FILE
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Log from this level on: error, warn, info, debug
    #[arg(long, value_name = "L", env = "ADIT_LOG")]
    pub log_level: Option<String>,
}

/// Which face is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The terminal UI.
    Screen,
    /// Lines.
    Lines(plain::Style),
}

impl Http {
    /// The face that the flags and the terminal ask for.
    pub fn face(&self) -> Face {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let can_draw = std::io::stdout().is_terminal()
            && std::io::stdin().is_terminal()
            && variable("TERM") != "dumb"
            && variable("ACCESSIBLE") != "1";
        match (self.json, self.plain || self.no_tui || !can_draw) {
            (true, _) => Face::Lines(plain::Style::Json),
            (false, true) => Face::Lines(plain::Style::Plain),
            (false, false) => Face::Screen,
        }
    }
}

/// A tunnel that is up, with everything behind it.
#[derive(Debug)]
pub struct Up {
    /// What passed.
    pub inspector: Inspector,
    /// The public URL.
    pub url: String,
    /// The certificate to trust for it, where a private CA made it.
    pub ca: Option<PathBuf>,
    agent: Agent,
    online: agent::Online,
    relay: Option<Relay>,
    tips: tui::Tips,
    warnings: Vec<String>,
    web: Option<(tokio::net::TcpListener, Running, PathBuf)>,
}

/// Runs until it is stopped.
///
/// # Errors
///
/// [`Failure`] with the exit code of the contract.
pub async fn run(flags: Http) -> Result<(), Failure> {
    let face = flags.face();
    let up = up(flags).await?;
    serve(up, face, None).await
}

/// Brings the tunnel up: config, store, relay, session, name.
///
/// # Errors
///
/// [`Failure`] with the exit code of the contract.
pub async fn up(flags: Http) -> Result<Up, Failure> {
    relay::limits::raise_files();
    let usage = |what: String| Failure::new(Exit::Usage, what);
    let address = Address::parse(&flags.origin)
        .map_err(|what| usage(what).hint("client http 3000, or client http http://host:3000"))?;
    let file = File::read()?;
    let state = State::open()?;
    let origin_text = address.to_string();
    let tunnel = file
        .tunnel
        .iter()
        .find(|(_, tunnel)| Address::parse(&tunnel.origin).is_ok_and(|origin| origin == address));

    let guard = rules::guard(&flags, &file, tunnel.map(|(_, tunnel)| tunnel))?;
    let (store, folder) = store(&flags, &file, &state)?;
    let inspect = flags.inspect.as_deref().or(file.inspect.as_deref());
    let listener = match inspect {
        Some("off") => None,
        asked => Some(bind_inspector(asked).await?),
    };
    let inspector_address = listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    if let Some(inspector) = inspector_address
        && inspector.port() == address.port
        && ["localhost", "127.0.0.1", "::1"].contains(&address.host.as_str())
    {
        return Err(
            usage(format!("{origin_text} is this client's own inspector"))
                .hint("give your app's port, or move the inspector with --inspect 127.0.0.1:PORT"),
        );
    }

    let wanted = wanted_name(&flags, tunnel)?;
    let relay_text = flags.relay.clone().or(file.relay.clone());
    let relay_ca = flags.relay_ca.clone().or(file.relay_ca.clone());
    let (relay, target, trust, ca, relay_key) = match &relay_text {
        None => {
            let relay = embedded::start(&state.embedded_relay(), flags.embedded_listen).await?;
            let bound =
                relay.addrs().first().copied().ok_or_else(|| {
                    Failure::new(Exit::Failed, "the embedded relay listens nowhere")
                })?;
            let ca = relay.ca().map(Path::to_owned).ok_or_else(|| {
                Failure::new(Exit::Failed, "the embedded relay has no certificate")
            })?;
            let trust = Trust::only(&ca).map_err(|what| Failure::new(Exit::Configuration, what))?;
            let target = Target {
                host: bound.ip().to_string(),
                port: bound.port(),
            };
            (
                Some(relay),
                target,
                trust,
                Some(ca),
                String::from("embedded"),
            )
        }
        Some(text) => {
            let target = Target::parse(text).ok_or_else(|| {
                usage(format!("{text:?} is no relay")).hint("give it as HOST or HOST:PORT")
            })?;
            let trust = match &relay_ca {
                None => Trust::web(),
                Some(path) => Trust::only(path).map_err(|what| {
                    Failure::new(Exit::Configuration, what).hint(
                        "--relay-ca takes the ca.pem that the relay wrote into its state folder",
                    )
                })?,
            };
            let key = target.to_string();
            (None, target, trust, relay_ca, key)
        }
    };
    let token = match flags.token.clone().or(file.token.clone()) {
        // A flag and the variable hold the token itself; the file holds a source.
        Some(text) if flags.token.is_some() => text,
        Some(source) => secrets::source(&source)?,
        None => String::new(),
    };

    let mut warnings = Vec::new();
    if guard.on_invalid == OnInvalid::Reject && !guard.has_rules() {
        warnings.push(String::from(
            "requests without a signature pass: say what must be signed with --verify [PATH=]PROVIDER",
        ));
    }
    let origin = Origin::new(address);
    if let Ok(Err(_)) = tokio::time::timeout(PROBE, origin.probe()).await {
        warnings.push(format!(
            "nothing listens on {} yet; senders get 502",
            origin.address().authority()
        ));
    }
    let forwarding = forwarding(&flags)?;
    let secrets_known = guard.secrets();
    let deliveries = Arc::new(Deliveries {
        store,
        guard,
        origin,
        forwarding,
    });
    let (status, _) = watch::channel(Status {
        state: status::State::Connecting,
        reason: None,
        name: None,
        url: None,
        origin: origin_text.clone(),
        inspector: None,
        transport: None,
        rtt: None,
        since: Instant::now(),
        reconnects: 0,
        embedded: relay.is_some(),
    });
    let inspector = Inspector::new(Arc::clone(&deliveries), status.subscribe());
    let tls = trust
        .tls()
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    let agent = Agent {
        dialer: Dialer::new(tls).map_err(|error| Failure::from_error(Exit::Failed, &error))?,
        transport: match flags.transport.as_str() {
            "quic" => Transport::Quic,
            "tcp" => Transport::Tcp,
            _ => Transport::Auto,
        },
        target,
        key: Arc::new(state.key()?),
        token,
        name: match &wanted {
            Some(name) => Some(name.clone()),
            None => remembered_name(&state, folder.as_deref(), &relay_key, &origin_text).await,
        },
        deliveries,
        status,
    };
    let online = connect(&agent, wanted.is_none()).await?;
    state.remember_name(&relay_key, &origin_text, &online.name);

    let web = match listener.zip(inspector_address) {
        None => None,
        Some((listener, address)) => {
            let running = Running {
                address,
                token: fresh_token()?,
                pid: std::process::id(),
                name: Some(online.name.clone()),
                url: Some(online.url.clone()),
                origin: origin_text.clone(),
                ca: ca.clone(),
            };
            Some((
                listener,
                running,
                folder.unwrap_or_else(|| state.folder().to_owned()),
            ))
        }
    };
    if let Some((_, running, _)) = &web {
        let link = format!("http://{}/?token={}", running.address, running.token);
        agent
            .status
            .send_modify(|status| status.inspector = Some(link));
    }
    let tips = tui::Tips {
        secrets: secrets_known,
        path: String::from("/webhook"),
        send: Some(String::from("client send cloudvno message.received")),
        ca: ca.as_ref().map(|path| path.display().to_string()),
    };
    let url = online.url.clone();
    Ok(Up {
        inspector,
        url,
        ca,
        agent,
        online,
        relay,
        tips,
        warnings,
        web,
    })
}

/// The name that this origin had before, unless another client of this laptop has it right now:
/// asking for it would take it from there.
async fn remembered_name(
    state: &State,
    folder: Option<&Path>,
    relay: &str,
    origin: &str,
) -> Option<String> {
    let name = state.name(relay, origin)?;
    for (_, running) in Running::all(folder.unwrap_or_else(|| state.folder())) {
        let same = running.name.as_deref() == Some(name.as_str());
        if same
            && tokio::net::TcpStream::connect(running.address)
                .await
                .is_ok()
        {
            eprintln!("note: another client has the name {name}; asking for another one");
            return None;
        }
    }
    Some(name)
}

/// Makes the first session. A name that was only remembered may be taken by now: then any will do.
async fn connect(agent: &Agent, any_name_will_do: bool) -> Result<agent::Online, Failure> {
    let error = match agent.connect().await {
        Ok(online) => return Ok(online),
        Err(error) => error,
    };
    if any_name_will_do && matches!(error, agent::ConnectError::Name(_)) && agent.name.is_some() {
        eprintln!("note: {error}; asking for another name");
        if let Ok(online) = agent.connect_with(None).await {
            return Ok(online);
        }
    }
    Err(agent::failure(&error, &agent.target).await)
}

/// A local app answers at once; one elsewhere may take longer, and is not waited for.
const PROBE: Duration = Duration::from_millis(300);

/// How long the face has to write what is true at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long the agent has to tell the relay that it leaves.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves until the person leaves, a signal comes, or the relay refuses for good. `beside` runs
/// beside it and ends with it.
///
/// # Errors
///
/// Why the tunnel ended, when nobody asked for it.
pub async fn serve(
    up: Up,
    face: Face,
    beside: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
) -> Result<(), Failure> {
    let Up {
        inspector,
        agent,
        online,
        relay,
        tips,
        warnings,
        web,
        ..
    } = up;
    let mut tasks = JoinSet::new();
    let mut announced = None;
    if let Some((listener, running, folder)) = web {
        match running.announce(&folder) {
            Ok(file) => announced = Some(file),
            Err(error) => tracing::warn!(%error, "other commands will not find this client"),
        }
        tasks.spawn(web::serve(listener, inspector.clone(), Arc::new(running)));
    }
    if let Some(beside) = beside {
        tasks.spawn(beside);
    }
    let (stop, stopped) = watch::channel(false);
    let store = inspector.store().clone();
    let status = inspector.status();
    // Held, so that no face takes the agent's end for its own before the reason is known.
    let _status = agent.status.clone();
    // The face begins with the session that stands.
    agent.show_online(&online);
    let mut agent = tokio::spawn(agent.run(online, stopped));
    let mut signals = Signals::new().map_err(|e| Failure::from_error(Exit::Failed, &e))?;

    let ended: Result<(), Failure> = {
        let mut face = std::pin::pin!(async {
            match face {
                Face::Lines(style) => {
                    for warning in warnings {
                        eprintln!("warning: {warning}");
                    }
                    plain::run(style, store.clone(), status).await
                }
                Face::Screen => screen(&inspector, status, tips, warnings).await,
            }
        });
        tokio::select! {
            biased;
            code = signals.next() => match code {
                Some(exit) => Err(Failure::new(exit, "")),
                None => Ok(()),
            },
            ended = &mut agent => {
                // The last status is on its way to the face.
                let _ = tokio::time::timeout(LAST_WORDS, &mut face).await;
                match ended {
                    Ok(Some(failure)) => Err(failure),
                    Ok(None) => Ok(()),
                    Err(error) => Err(Failure::from_error(Exit::Failed, &error)),
                }
            }
            shown = &mut face => match shown {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                Err(error) => Err(Failure::from_error(Exit::Failed, &error)),
                Ok(()) => Ok(()),
            },
        }
    };
    stop.send_replace(true);
    if !agent.is_finished() {
        let _ = tokio::time::timeout(GOODBYE, &mut agent).await;
        agent.abort();
    }
    drop(announced);
    tasks.shutdown().await;
    store.flush().await;
    if let Some(why) = store.health().why() {
        eprintln!("warning: not everything was recorded: {why}");
    }
    if let Some(relay) = relay {
        relay.shutdown(Duration::from_millis(500)).await;
    }
    ended
}

/// The terminal UI, until the person leaves it.
async fn screen(
    inspector: &Inspector,
    mut status: watch::Receiver<Status>,
    tips: tui::Tips,
    warnings: Vec<String>,
) -> std::io::Result<()> {
    let (to, inputs) = mpsc::channel(1024);
    for warning in warnings {
        // The channel is new and has room.
        let _ = to.try_send(tui::Input::Notice(format!("warning: {warning}")));
    }
    let store = inspector.store().clone();
    let (mut deliveries, mut feed) = store.watch();
    deliveries.retain(|delivery| inspector.is_ours(delivery));
    let start = tui::Start {
        status: status.borrow_and_update().clone(),
        deliveries,
        tips,
        color: std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    };
    let mut feeder = JoinSet::new();
    let ours = inspector.clone();
    let mut health = store.health_changes();
    feeder.spawn(async move {
        loop {
            let input = tokio::select! {
                changed = status.changed() => match changed {
                    Ok(()) => tui::Input::Status(status.borrow_and_update().clone()),
                    Err(_) => return,
                },
                changed = health.changed() => match changed {
                    Ok(()) => {
                        let now = health.borrow_and_update().clone();
                        match now.why() {
                            Some(why) => tui::Input::Notice(format!("recording stopped: {why}; deliveries go on")),
                            None => tui::Input::Notice(match now.dropped() {
                                0 => String::from("recording goes on"),
                                n => format!("{n} bodies were not recorded: the disk could not keep up"),
                            }),
                        }
                    }
                    Err(_) => return,
                },
                change = feed.next() => match change {
                    Change::Changed(delivery) if ours.is_ours(&delivery) => {
                        tui::Input::Changed(delivery)
                    }
                    Change::Changed(_) => continue,
                    Change::Removed(id) => tui::Input::Removed(id),
                    Change::Reset => {
                        let (mut all, next) = store.watch();
                        all.retain(|delivery| ours.is_ours(delivery));
                        feed = next;
                        tui::Input::Reset(all)
                    }
                    Change::Closed => return,
                },
            };
            // Full means that the screen is busy: the feed waits in its own bounded queue, and
            // starts over when that overflows. No delivery waits here.
            if to.send(input).await.is_err() {
                return;
            }
        }
    });
    let screen = tui::Screen::enter()?;
    let terminal =
        ratatui::Terminal::new(ratatui::backend::CrosstermBackend::new(std::io::stdout()))?;
    let done = tui::run(
        crossterm::event::EventStream::new(),
        inputs,
        Arc::new(inspector.clone()),
        start,
        terminal,
    )
    .await;
    drop(screen);
    done
}

async fn bind_inspector(asked: Option<&str>) -> Result<tokio::net::TcpListener, Failure> {
    let address = match asked {
        None => None,
        Some(text) => {
            let address: SocketAddr = text.parse().map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!("{text:?} is no address for the inspector"),
                )
                .hint("give it as in --inspect 127.0.0.1:4040, or --inspect off")
            })?;
            if !address.ip().is_loopback() {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("the inspector is refused on {address}: others could reach it"),
                )
                .hint("it shows what your senders sent: keep it on 127.0.0.1"));
            }
            Some(address)
        }
    };
    web::bind(address).await.map_err(|error| {
        let shown = address.unwrap_or(web::DEFAULT);
        Failure::new(Exit::Failed, format!("{shown} is taken"))
            .because(&error)
            .hint(format!(
                "see who holds it with: ss -ltnp 'sport = :{}', or choose another with --inspect",
                shown.port()
            ))
    })
}

fn store(flags: &Http, file: &File, state: &State) -> Result<(Store, Option<PathBuf>), Failure> {
    match flags.store.as_deref().or(file.store.as_deref()) {
        Some("off") => Ok((Store::in_memory(capture::Limits::default()), None)),
        Some(path) => open_store(Path::new(path)).map(|store| (store, Some(PathBuf::from(path)))),
        None => {
            let folder = state.folder();
            open_store(folder).map(|store| (store, Some(folder.to_owned())))
        }
    }
}

/// Opens a store, or says what is wrong with it.
///
/// # Errors
///
/// [`Exit::Configuration`].
pub fn open_store(folder: &Path) -> Result<Store, Failure> {
    Store::open(folder, capture::Limits::default())
        .map_err(|error| Failure::from_error(Exit::Configuration, &error).hint(error.hint()))
}

fn wanted_name(
    flags: &Http,
    tunnel: Option<(&String, &crate::config::Tunnel)>,
) -> Result<Option<String>, Failure> {
    let text = match (&flags.name, &flags.url) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(url)) => {
            let host = url.strip_prefix("https://").unwrap_or(url);
            let label = host.split(['.', '/', ':']).next().unwrap_or_default();
            Some(label.to_owned())
        }
        (None, None) => tunnel.and_then(|(_, tunnel)| tunnel.name.clone()),
    };
    match &text {
        None => Ok(None),
        Some(name) => match EndpointName::parse(name) {
            Ok(_) => Ok(text),
            Err(error) => {
                Err(Failure::new(Exit::Usage, format!("{name:?} cannot be a name")).because(&error))
            }
        },
    }
}

fn forwarding(flags: &Http) -> Result<Forwarding, Failure> {
    let header = |text: &String| {
        let bad = || {
            Failure::new(Exit::Usage, format!("{text:?} is no header"))
                .hint("give it as in --request-header-add 'X-Env: dev'")
        };
        let (name, value) = text.split_once(':').ok_or_else(bad)?;
        let value = value.trim();
        let sound = proxy::headers::is_token(name.as_bytes())
            && proxy::headers::is_field_value(value.as_bytes());
        if sound {
            Ok((name.to_owned(), value.to_owned()))
        } else {
            Err(bad())
        }
    };
    Ok(Forwarding {
        timeout: flags.timeout,
        host: match flags.host_header.as_str() {
            "preserve" => HostHeader::Preserve,
            "rewrite" => HostHeader::Rewrite,
            value if value.bytes().all(|b| (0x21..0x7f).contains(&b)) && !value.is_empty() => {
                HostHeader::Value(value.to_owned())
            }
            value => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{value:?} cannot be a Host"),
                ));
            }
        },
        add: flags
            .request_header_add
            .iter()
            .map(header)
            .collect::<Result<_, _>>()?,
        remove: flags.request_header_remove.clone(),
    })
}

/// 160 bits that nobody can guess; only this user reads them, from a file of theirs.
fn fresh_token() -> Result<String, Failure> {
    let mut bytes = [0_u8; 20];
    getrandom::fill(&mut bytes).map_err(|_| {
        Failure::new(
            Exit::Failed,
            "the system gave no random bytes for the inspector's token",
        )
    })?;
    // 32 characters of five bits: the link fits into one line of 80 columns.
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let character = |i: usize| {
        let bit = i * 5;
        let pair = u16::from_be_bytes([bytes[bit / 8], *bytes.get(bit / 8 + 1).unwrap_or(&0)]);
        char::from(ALPHABET[usize::from(pair >> (11 - bit % 8) & 31)])
    };
    Ok((0..32).map(character).collect())
}

/// Reads `500ms`, `10s`, `1m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number
        .parse()
        .map_err(|_| String::from("give it as in 10s"))?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(String::from("give a number and a unit: 500ms, 10s, 1m, 1h")),
    };
    match number.checked_mul(scale) {
        Some(0) | None => Err(String::from("that is no time to wait")),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}
