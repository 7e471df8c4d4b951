//! Text for the screen: strangers' bytes made visible, widths, and figures for people.
//!
//! Everything that came over the network goes through [`visible`] or [`visible_bytes`] before it
//! becomes part of a cell. Nothing in a request can move the cursor, write to the clipboard,
//! reorder a line or hide in it.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Marks that may sit on one letter. Two are enough for Vietnamese and pointed Hebrew; longer
/// runs only paint over their neighbours.
const MARKS: usize = 2;

/// `text` with every character that is not plainly visible spelled out: C0, DEL and C1, bidi
/// controls, invisible and zero-width characters, and combining marks that run on.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    push_visible(&mut out, text);
    Cow::Owned(out)
}

/// [`visible`] for bytes: what is not UTF-8 becomes `\xNN`.
pub(crate) fn visible_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return visible(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        push_visible(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

fn push_visible(out: &mut String, text: &str) {
    // Marks that the character before may still carry. None at the very start: they would sit on
    // whatever was drawn there. A plain space or an escape carries none either.
    let mut marks = 0;
    let mut before = ' ';
    for c in text.chars() {
        let is_mark = c.width() == Some(0);
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            // Emoji and text presentation belong to the symbol before them.
            '\u{fe0e}' | '\u{fe0f}' if !before.is_ascii() && marks > 0 => out.push(c),
            _ if c.is_control() || is_hidden(c) || (is_mark && marks == 0) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => {
                out.push(c);
                marks = match c {
                    ' ' => 0,
                    _ if is_mark => marks - 1,
                    _ => MARKS,
                };
                before = c;
                continue;
            }
        }
        marks = 0;
        before = ' ';
    }
}

/// Characters that show nothing or change how others are shown.
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut to `columns`, the last one `…` when something was cut. Untrusted text is made
/// visible first by the caller.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    let span = Span::raw(text);
    for grapheme in span.styled_graphemes(Style::default()) {
        let wide = width(grapheme.symbol);
        if used + wide + 1 > columns {
            break;
        }
        out.push_str(grapheme.symbol);
        used += wide;
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// [`shorten`], then filled with spaces to exactly `columns`.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let mut out = shorten(text, columns);
    let used = width(&out);
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(used)));
    out
}

/// [`fit`], set to the right.
pub(crate) fn fit_right(text: &str, columns: usize) -> String {
    let cut = shorten(text, columns);
    let mut out = " ".repeat(columns.saturating_sub(width(&cut)));
    out.push_str(&cut);
    out
}

/// Breaks `line` into lines of at most `columns`; words are kept whole where they fit.
pub(crate) fn wrap(line: Line<'static>, columns: usize, out: &mut Vec<Line<'static>>) {
    let columns = columns.max(1);
    if line.width() <= columns {
        out.push(line);
        return;
    }
    let style = line.style;
    // (symbol, style) of every grapheme; the break is the last space of the row, if it is not
    // so early that the row would look empty.
    let mut row: Vec<(String, Style)> = Vec::new();
    let mut used = 0;
    let flush = |row: &[(String, Style)], out: &mut Vec<Line<'static>>| {
        let mut spans: Vec<Span<'static>> = Vec::new();
        for (symbol, style) in row {
            match spans.last_mut() {
                Some(last) if last.style == *style => last.content.to_mut().push_str(symbol),
                _ => spans.push(Span::styled(symbol.clone(), *style)),
            }
        }
        out.push(Line::from(spans).style(style));
    };
    for span in &line.spans {
        for grapheme in span.styled_graphemes(Style::default()) {
            let wide = width(grapheme.symbol);
            if used + wide > columns && !row.is_empty() {
                let at = row
                    .iter()
                    .rposition(|(symbol, _)| symbol == " ")
                    .map_or(row.len(), |space| space + 1);
                let at = if at * 2 < row.len() { row.len() } else { at };
                let rest = row.split_off(at);
                flush(&row, out);
                row = rest;
                used = row.iter().map(|(symbol, _)| width(symbol)).sum();
            }
            row.push((grapheme.symbol.to_owned(), grapheme.style));
            used += wide;
        }
    }
    if !row.is_empty() {
        flush(&row, out);
    }
}

/// A duration in five columns: `41`, `1.3s`, `12.4s`, `2m05`.
pub(crate) fn duration_cell(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => String::from("<1"),
        1..1_000 => format!("{ms}"),
        1_000..100_000 => format!("{:.1}s", duration.as_secs_f64()),
        _ => countdown(duration),
    }
}

/// A duration in a sentence: `0.4 ms`, `41 ms`, `1.3 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else if ms < 100_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else {
        countdown(duration)
    }
}

/// Whole seconds left, rounded up: `58s`, `4m58s`, `2h04m`, `3d02h`.
pub(crate) fn countdown(left: Duration) -> String {
    let s = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// A byte count: `412 B`, `1.9 kB`, `2.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let n = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", n / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.1} GB", n / 1e9),
    }
}

/// `count` and the word that fits it: `1 delivery`, `3 deliveries`.
pub(crate) fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bytes_become_visible() {
        for (raw, shown) in [
            ("plain ascii", "plain ascii"),
            ("größe ✓ 你好", "größe ✓ 你好"),
            ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("del\u{7f}", "del\\x7f"),
            ("user\u{202e}gpj.exe", "user\\u{202e}gpj.exe"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("line\r\nbreak\t", "line\\r\\nbreak\\t"),
            ("e\u{301}", "e\u{301}"),
            ("\u{301}x", "\\u{301}x"),
            (
                "e\u{301}\u{301}\u{301}\u{301}",
                "e\u{301}\u{301}\\u{301}\\u{301}",
            ),
            ("❤\u{fe0f}", "❤\u{fe0f}"),
            ("a\u{fe0f}", "a\\u{fe0f}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ] {
            assert_eq!(visible(raw), shown);
        }
        assert_eq!(visible_bytes(b"ok \xff\xfe \x1b"), "ok \\xff\\xfe \\x1b");
    }

    #[test]
    fn cells_are_exactly_as_wide_as_asked() {
        for text in [
            "",
            "a",
            "message.received",
            "你好世界",
            "e\u{301}e\u{301}",
            "👩🏽x❤\u{fe0f}",
        ] {
            for columns in 0..12 {
                assert_eq!(width(&fit(text, columns)), columns, "{text:?} in {columns}");
                assert_eq!(
                    width(&fit_right(text, columns)),
                    columns,
                    "{text:?} in {columns}"
                );
            }
        }
    }

    #[test]
    fn wrapping_keeps_every_character_and_whole_words() {
        let mut out = Vec::new();
        wrap(Line::from("the app hashes other bytes"), 12, &mut out);
        let lines: Vec<String> = out.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["the app ", "hashes ", "other bytes"]
                .map(String::from)
                .to_vec()
        );
        let mut out = Vec::new();
        wrap(Line::from("x".repeat(25)), 10, &mut out);
        assert_eq!(out.iter().map(Line::width).collect::<Vec<_>>(), [10, 10, 5]);
    }

    #[test]
    fn figures_are_short() {
        let ms = Duration::from_millis;
        for (duration, cell) in [
            (0, "<1"),
            (41, "41"),
            (1_312, "1.3s"),
            (98_000, "98.0s"),
            (125_000, "2m05s"),
        ] {
            assert_eq!(duration_cell(ms(duration)), cell);
        }
        for (left, shown) in [
            (0, "0s"),
            (57_001, "58s"),
            (298_000, "4m58s"),
            (7_440_000, "2h04m"),
        ] {
            assert_eq!(countdown(ms(left)), shown);
        }
        assert_eq!(
            (bytes(412), bytes(1_900)),
            ("412 B".into(), "1.9 kB".into())
        );
    }
}
