//! The real terminal UI in a real terminal (tmux): what is seen, pressed, clicked, and left behind.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Setup, World, soon};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const EVENT: &str = "event=message.delivered&MessageSid=SM01&To=%2B14155550100";

#[tokio::test]
async fn the_first_page_at_80_by_24_says_what_to_do() {
    let Some((_world, terminal)) = open(80, 24).await else {
        return;
    };
    first_page(&terminal).await;
}

#[tokio::test]
async fn the_first_page_at_120_by_40_says_what_to_do() {
    let Some((_world, terminal)) = open(120, 40).await else {
        return;
    };
    first_page(&terminal).await;
}

#[tokio::test]
async fn a_request_is_seen_and_replayed_by_key_and_by_click_at_80_by_24() {
    let Some((world, terminal)) = open(80, 24).await else {
        return;
    };
    replays(&world, &terminal, "Attempts").await;
}

#[tokio::test]
async fn a_request_is_seen_and_replayed_by_key_and_by_click_at_120_by_40() {
    let Some((world, terminal)) = open(120, 40).await else {
        return;
    };
    replays(&world, &terminal, "Tries").await;
}

#[tokio::test]
async fn quitting_is_asked_and_gives_the_terminal_back() {
    let Some((world, terminal)) = open(80, 24).await else {
        return;
    };
    terminal.shows("Waiting for the first request").await;
    terminal.press("q");
    terminal.shows("y yes").await;
    terminal.press("n");
    terminal.shows("q quit").await;
    assert_eq!(world.get("/still-here").await.status, 200);
    terminal.press("q");
    terminal.shows("y yes").await;
    terminal.press("y");
    terminal.is_given_back(0).await;
    world.away().await;
}

#[tokio::test]
async fn sigterm_gives_the_terminal_back() {
    let Some((world, terminal)) = open(80, 24).await else {
        return;
    };
    terminal.shows("Waiting for the first request").await;
    let sent = Command::new("kill")
        .args(["-TERM", &terminal.client_id()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    terminal.is_given_back(0).await;
    world.away().await;
}

#[tokio::test]
async fn a_panic_gives_the_terminal_back_and_its_message_can_be_read() {
    let Some((_world, terminal)) = shell(80, 24).await else {
        return;
    };
    let this = std::env::current_exe().expect("this program");
    terminal.press_line(&format!(
        "{} --ignored --exact --nocapture a_program_that_panics_on_its_screen; echo \"left with $?\"",
        this.display()
    ));
    let page = terminal.shows("left with 101").await;
    assert!(page.contains("the screen is held"), "{page}");
    assert!(!page.contains("another thread"), "{page}");
    assert_eq!(terminal.ask("#{alternate_on}#{mouse_any_flag}"), "00");
}

#[test]
#[ignore = "run by a_panic_gives_the_terminal_back_and_its_message_can_be_read"]
fn a_program_that_panics_on_its_screen() {
    let _screen = client::tui::Screen::enter().expect("a terminal");
    let other = std::thread::spawn(|| panic!("another thread"));
    assert!(other.join().is_err());
    panic!("the screen is held");
}

#[tokio::test]
async fn a_lost_relay_is_shown_and_so_is_its_return() {
    let Some((mut world, terminal)) = open(80, 24).await else {
        return;
    };
    terminal.shows("ONLINE").await;
    world.relay.shut_down(Duration::from_millis(200)).await;
    terminal.shows("RECONNECT").await;
    world.relay.start_again().await;
    terminal.shows("ONLINE").await;
}

#[tokio::test]
async fn what_a_sender_sends_does_not_move_the_terminal() {
    let Some((world, terminal)) = open(80, 24).await else {
        return;
    };
    terminal.shows("ONLINE").await;
    let host = world.host();
    // A title, a clipboard, a screen cleared and a colour, in a path and in a body.
    let evil = "\x1b]0;pwned\x07\x1b]52;c;cHduZWQ=\x07\x1b[2J\x1b[31mred";
    let request = format!(
        "POST /a%1b%5b2J HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{evil}",
        evil.len()
    );
    assert_eq!(world.sender.send(request).await.status, 200);
    terminal.shows("/a%1b%5b2J").await;
    terminal.shows("ONLINE").await;
    assert_ne!(terminal.ask("#{pane_title}"), "pwned");
    terminal.press("Q");
    terminal.is_given_back(0).await;
}

async fn first_page(terminal: &Terminal) {
    let page = terminal.shows("Waiting for the first request").await;
    let url = format!("https://{}", terminal.host);
    assert!(page.contains(&url), "{page}");
    assert!(page.contains("ONLINE"), "{page}");
    assert!(page.contains(&format!("{url}/webhook")), "{page}");
    assert!(
        page.contains("client send cloudvno message.received"),
        "{page}"
    );
    assert!(page.contains("curl "), "{page}");
    assert!(page.contains("? help") && page.contains("q quit"), "{page}");
    assert_eq!(terminal.ask("#{alternate_on}"), "1");
}

/// `attempts` is the word of the tab that counts them.
async fn replays(world: &World, terminal: &Terminal, attempts: &str) {
    terminal.shows("ONLINE").await;
    assert_eq!(world.event(EVENT).await.status, 200);
    let original = world.origin.request().await;
    let page = terminal.shows("message.delivered").await;
    assert!(page.contains("1 req"), "{page}");
    terminal.shows(&format!("{attempts} 1")).await;
    terminal.shows("200").await;

    terminal.press("r");
    terminal.shows(&format!("{attempts} 2")).await;
    let replay = world.origin.request().await;
    assert_eq!(
        replay.field("Adit-Replay-Of"),
        original.field("Adit-Request-Id")
    );

    terminal.click("[ r Replay ]").await;
    terminal.shows(&format!("{attempts} 3")).await;
    assert_eq!(world.origin.request().await.body, EVENT.as_bytes());
    assert_eq!(world.origin.seen(), 3);
}

/// A world, and a terminal in which `client http` runs in it with the name `shop`. `None`, and a
/// printed reason, where there is no tmux.
async fn open(columns: u16, rows: u16) -> Option<(World, Terminal)> {
    let (world, terminal) = shell(columns, rows).await?;
    terminal.press_line(&format!(
        "{CLIENT} http {} --relay {} --relay-ca {} --name shop --inspect 127.0.0.1:0",
        world.origin.address(),
        world.link.address(),
        world.relay.ca().display(),
    ));
    Some((world, terminal))
}

/// A world, and a terminal with a shell in it.
async fn shell(columns: u16, rows: u16) -> Option<(World, Terminal)> {
    if Command::new("tmux").arg("-V").output().is_err() {
        eprintln!("skipped: tmux is not installed, and nothing else here is a real terminal");
        return None;
    }
    let world = World::start().await;
    let terminal = Terminal::open(&world, columns, rows);
    terminal.shows("$").await;
    Some((world, terminal))
}

/// A tmux server of its own with one pane, in which a shell runs. Dropped, the server is killed.
struct Terminal {
    home: TempDir,
    host: String,
}

impl Terminal {
    fn open(world: &World, columns: u16, rows: u16) -> Terminal {
        let terminal = Terminal {
            home: tempfile::tempdir().expect("a folder"),
            host: world.host(),
        };
        let home = terminal.home.path().display();
        let path = std::env::var("PATH").unwrap_or_default();
        let shell = format!(
            "env -i PATH='{path}' HOME='{home}' XDG_DATA_HOME='{home}/data' TERM=screen-256color \
             LANG=C.UTF-8 PS1='$ ' ADIT_SECRET_CLOUDVNO={} sh",
            Setup::SECRET
        );
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&[
            "start-server",
            ";",
            "set-option",
            "-g",
            "status",
            "off",
            ";",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            &shell,
        ]);
        terminal
    }

    fn run(&self, arguments: &[&str]) -> std::io::Result<Output> {
        // A folder of its own makes the name unique, and keeps it off other people's servers.
        Command::new("tmux")
            .args(["-u", "-L", "adit", "-f", "/dev/null"])
            .args(arguments)
            .env_remove("TMUX")
            .env("TMUX_TMPDIR", self.home.path())
            .output()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).expect("tmux runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the screen shows now.
    fn page(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows a text; the whole page. No event of tmux tells what a screen
    /// shows, so it is looked at again and again.
    async fn shows(&self, text: &str) -> String {
        let looked = async {
            loop {
                let page = self.page();
                if page.contains(text) {
                    return page;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(testkit::DEADLINE, looked).await {
            Ok(page) => page,
            Err(_) => panic!("the screen does not show {text:?}:\n{}", self.page()),
        }
    }

    /// A format of tmux.
    fn ask(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format])
            .trim_end()
            .to_owned()
    }

    /// Presses one key.
    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Types a line and Enter.
    fn press_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    /// Clicks on a text of the screen, with the left button.
    async fn click(&self, text: &str) {
        let page = self.shows(text).await;
        let (row, line) = page
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(text))
            .expect("it is shown");
        let before = line.split(text).next().unwrap_or_default();
        let column = before.chars().count() + text.chars().count() / 2;
        for end in ['M', 'm'] {
            // xterm's SGR report of button 0: pressed, released. Both count from 1.
            let report = format!("\x1b[<0;{};{}{end}", column + 1, row + 1);
            let bytes: Vec<String> = report.bytes().map(|b| format!("{b:02x}")).collect();
            let mut arguments = vec!["send-keys", "-H"];
            arguments.extend(bytes.iter().map(String::as_str));
            self.tmux(&arguments);
        }
    }

    /// The process id of the client that runs in it.
    fn client_id(&self) -> String {
        let folder: PathBuf = self.home.path().join("data/adit");
        std::fs::read_dir(folder)
            .expect("a folder")
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().to_string_lossy().into_owned();
                let id = name.strip_prefix("running-")?.strip_suffix(".json")?;
                Some(id.to_owned())
            })
            .next()
            .expect("a client runs")
    }

    /// Waits until the client has left with this exit code: the shell has its screen and its line
    /// discipline back, and the mouse is the terminal's again.
    async fn is_given_back(&self, code: i32) {
        soon("the alternate screen is left", async {
            while self.ask("#{alternate_on}") != "0" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        self.press_line("echo left-with-$?-and-$((20+3))");
        // In raw mode the shell would not get its line: neither would be answered.
        self.shows(&format!("left-with-{code}-and-23")).await;
        self.shows("echo left-with-$?").await;
        assert_eq!(
            self.ask("#{mouse_any_flag}#{cursor_flag}#{bracketed_paste_flag}"),
            "01"
        );
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
    }
}
