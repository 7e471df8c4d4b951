//! `cargo xtask picture`: the README's picture of the terminal UI, taken from the real program.
//!
//! `client demo` runs in tmux until every kind of delivery has come; the one whose signature fails
//! is selected; what tmux then shows becomes `client/terminal.svg`.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const COLUMNS: usize = 116;
const ROWS: usize = 24;

/// The demo's first round takes 7 s; a slow machine may take some more.
const PATIENCE: usize = 200;
const LOOK: Duration = Duration::from_millis(150);

/// The delivery that the picture shows opened, and the last one of the demo's first round.
const SELECTED: &str = "call.failed";
const LAST: &str = "recording.avail";

/// Takes the picture anew.
///
/// # Errors
///
/// When tmux is missing, the program does not build, or the demo does not come that far.
pub(crate) fn take(root: &Path) -> Result<(), Box<dyn Error>> {
    run(Command::new("cargo")
        .args(["build", "--release", "--locked", "--bin", "client"])
        .current_dir(root))?;
    let home = std::env::temp_dir().join(format!("adit-picture-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let taken = shoot(root, &home);
    let _ = tmux(&["kill-server"]);
    std::fs::remove_dir_all(&home)?;
    let path = root.join("client/terminal.svg");
    std::fs::write(&path, svg(&taken?))?;
    println!("{}", path.display());
    Ok(())
}

fn shoot(root: &Path, home: &Path) -> Result<String, Box<dyn Error>> {
    let (columns, rows) = (COLUMNS.to_string(), ROWS.to_string());
    let demo = format!(
        "env HOME={} {} demo",
        home.display(),
        root.join("target/release/client").display()
    );
    tmux(&[
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-x",
        &columns,
        "-y",
        &rows,
        &demo,
    ])?;
    until(|screen| screen.contains(LAST))?;
    tmux(&["send-keys", "3"])?;
    for _ in 0..12 {
        let screen = tmux(&["capture-pane", "-p"])?;
        let selected = |line: &str| line.contains('▌') && line.contains(SELECTED);
        if screen.lines().any(selected) {
            return tmux(&["capture-pane", "-e", "-p"]);
        }
        tmux(&["send-keys", "k"])?;
        sleep(LOOK);
    }
    Err(format!("{SELECTED} is not on the screen").into())
}

fn until(there: impl Fn(&str) -> bool) -> Result<(), Box<dyn Error>> {
    for _ in 0..PATIENCE {
        if there(&tmux(&["capture-pane", "-p"])?) {
            return Ok(());
        }
        sleep(LOOK);
    }
    Err("the demo did not come that far".into())
}

fn tmux(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let socket = format!("adit-picture-{}", std::process::id());
    run(Command::new("tmux").args(["-L", &socket]).args(arguments))
}

fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}", why.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A cell's size in pixels, for a font of 14 px.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 14.0;
const BACKGROUND: &str = "#10171a";
const FOREGROUND: &str = "#d5dde0";

/// The terminal's sixteen colours.
const COLOURS: [&str; 16] = [
    "#10171a", "#f2777a", "#7fd88f", "#e6c06c", "#6cb6ff", "#d2a8ff", "#5fd7d0", "#d5dde0",
    "#7d8b91", "#ff9a9c", "#a5e8b0", "#f5d999", "#9ccfff", "#e3c7ff", "#93ebe5", "#ffffff",
];

/// How a run of cells looks.
#[derive(Clone, Copy, Default, PartialEq)]
struct Style {
    colour: Option<usize>,
    bold: bool,
    dim: bool,
    underlined: bool,
    reversed: bool,
}

/// Text with SGR sequences (ECMA-48, 8.3.117) as an SVG image.
fn svg(screen: &str) -> String {
    let width = COLUMNS as f64 * CELL.0 + 2.0 * MARGIN;
    let height = ROWS as f64 * CELL.1 + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>The terminal UI of client demo</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    let mut style = Style::default();
    for (row, line) in screen.lines().enumerate() {
        let mut column = 0;
        for (text, next) in runs(line, &mut style) {
            let cells = text.chars().count();
            if !text.trim().is_empty() || next.reversed {
                put(&mut out, (column, row), &text, next);
            }
            column += cells;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn put(out: &mut String, (column, row): (usize, usize), text: &str, style: Style) {
    let x = MARGIN + column as f64 * CELL.0;
    let top = MARGIN + row as f64 * CELL.1;
    let width = text.chars().count() as f64 * CELL.0;
    let mut fill = style.colour.map_or(FOREGROUND, |colour| COLOURS[colour]);
    if style.reversed {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{fill}\"/>",
            CELL.1
        );
        fill = BACKGROUND;
    }
    let mut attributes = String::new();
    for (wanted, attribute) in [
        (style.bold, " font-weight=\"bold\""),
        (style.dim, " opacity=\"0.65\""),
        (style.underlined, " text-decoration=\"underline\""),
    ] {
        if wanted {
            attributes.push_str(attribute);
        }
    }
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{fill}\"{attributes}>{text}</text>",
        top + CELL.1 * 0.75
    );
}

/// A line's runs of one style each. The style goes on into the next line.
fn runs(line: &str, style: &mut Style) -> Vec<(String, Style)> {
    let mut runs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic());
            let (codes, after) = sequence.split_at(end.unwrap_or(sequence.len()));
            apply(codes, style);
            rest = after.get(1..).unwrap_or_default();
            continue;
        }
        let end = rest.find('\u{1b}').filter(|end| *end > 0);
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        runs.push((text.to_owned(), *style));
        rest = after;
    }
    runs
}

fn apply(codes: &str, style: &mut Style) {
    let mut codes = codes
        .split(';')
        .map(|code| code.parse::<usize>().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            4 => style.underlined = true,
            7 => style.reversed = true,
            22 => (style.bold, style.dim) = (false, false),
            24 => style.underlined = false,
            27 => style.reversed = false,
            30..=37 => style.colour = Some(code - 30),
            90..=97 => style.colour = Some(code - 82),
            // 38;5;N: one of 256, of which we use the first sixteen.
            38 => style.colour = codes.nth(1).filter(|colour| *colour < COLOURS.len()),
            39 => style.colour = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_text_become_elements_and_markup_stays_text() {
        let picture = svg("\u{1b}[1m\u{1b}[38;5;1m<b>&\u{1b}[0m plain");
        assert!(picture.contains("fill=\"#f2777a\" font-weight=\"bold\">&lt;b&gt;&amp;</text>"));
        assert!(picture.contains(&format!("fill=\"{FOREGROUND}\"> plain</text>")));
    }

    #[test]
    fn a_style_goes_on_into_the_next_line() {
        let picture = svg("\u{1b}[32ma\nb\u{1b}[39mc");
        assert_eq!(picture.matches("#7fd88f").count(), 2, "{picture}");
    }
}
