//! The two lines on top: how the tunnel stands, and what came through it.

use super::layout::Areas;
use super::theme::Theme;
use super::{cut, draw_line, ends};
use crate::status::State;
use crate::text;
use crate::tui::model::Model;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Where the public URL begins in the status line, and how wide it is.
pub(super) fn url_area(model: &Model, row: Rect) -> Rect {
    let Some(url) = &model.status.url else {
        return Rect::ZERO;
    };
    let x = text::width(&word(model)) + 3;
    let width = text::width(&text::visible(url)).min(usize::from(row.width).saturating_sub(x));
    if width == 0 || row.is_empty() {
        return Rect::ZERO;
    }
    Rect {
        x: row.x + x as u16,
        width: width as u16,
        ..row
    }
}

pub(super) fn draw(model: &Model, areas: &Areas, theme: Theme, frame: &mut Frame<'_>) {
    draw_line(first(model, areas.status.width, theme), areas.status, frame);
    if !areas.counters.is_empty() {
        draw_line(
            second(model, areas.counters.width, theme),
            areas.counters,
            frame,
        );
    }
}

/// The state's glyph and word: what is true, and nothing better.
fn word(model: &Model) -> String {
    match &model.status.state {
        State::Online => String::from("● ONLINE"),
        State::Connecting => String::from("◌ CONNECTING"),
        State::Draining => String::from("◍ DRAINING"),
        State::Offline => String::from("○ OFFLINE"),
        State::Reconnecting { next_try, .. } => {
            let left = next_try.saturating_duration_since(model.now.steady);
            match left.is_zero() {
                true => String::from("◐ RECONNECT now"),
                false => format!("◐ RECONNECT {}", text::countdown(left)),
            }
        }
    }
}

fn first(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let status = &model.status;
    let style = match status.state {
        State::Online => theme.good().patch(theme.strong()),
        State::Connecting | State::Draining | State::Reconnecting { .. } => {
            theme.warn().patch(theme.strong())
        }
        State::Offline => theme.bad(),
    };
    let mut left = Line::from(vec![
        Span::styled(format!(" {}", word(model)), style),
        Span::raw("  "),
    ]);
    if let Some(url) = &status.url {
        left.push_span(Span::styled(text::visible(url).into_owned(), theme.link()));
    }
    let short = left.clone();
    if status.url.is_some() {
        left.push_span(Span::styled(" → ", theme.quiet()));
    }
    // `http://` is what everybody expects of an origin; it gives way to facts.
    let origin = match width {
        0..100 => status
            .origin
            .strip_prefix("http://")
            .unwrap_or(&status.origin),
        _ => &status.origin,
    };
    left.push_span(Span::raw(text::visible(origin).into_owned()));

    let mut facts = Vec::new();
    if status.embedded {
        // The origin is worth more than the longer words.
        facts.push(String::from(match width {
            0..100 => "local only",
            _ => "this machine only",
        }));
    } else if status.state == State::Online {
        facts.extend(status.transport.map(String::from));
        facts.extend(status.rtt.map(|rtt| format!("rtt {}", text::duration(rtt))));
    }
    if status.reconnects > 0 {
        facts.push(text::count(
            status.reconnects as usize,
            "reconnect",
            "reconnects",
        ));
    }
    // Facts go, the last one first, before the URL is cut.
    while !facts.is_empty() {
        let right = facts.join(" · ");
        let fits = |left: &Line<'_>| left.width() + text::width(&right) + 2 <= usize::from(width);
        let style = if status.embedded {
            theme.warn()
        } else {
            theme.quiet()
        };
        if fits(&left) {
            return ends(left, Line::styled(right, style), width);
        }
        // That the URL is a local one matters more than where it leads.
        if facts.len() == 1 && status.embedded && fits(&short) {
            return ends(short, Line::styled(right, style), width);
        }
        facts.pop();
    }
    cut(left, usize::from(width))
}

fn second(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let counts = &model.counts;
    let mut left = Line::raw(" ");
    if model.status.state != State::Online
        && let Some(reason) = &model.status.reason
    {
        left.push_span(Span::styled(
            text::visible(reason).into_owned(),
            theme.warn(),
        ));
        left.push_span(Span::raw("  "));
    }
    left.push_span(Span::styled(format!("{} req", counts.all), theme.strong()));
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    for ((name, n), code) in classes
        .into_iter()
        .zip(counts.classes)
        .zip([100, 200, 300, 400, 500])
    {
        // 2xx, 4xx and 5xx always stand there, so that the line does not jump.
        if n > 0 || !matches!(code, 100 | 300) {
            let style = if n > 0 {
                theme.by_status(code)
            } else {
                theme.quiet()
            };
            left.push_span(Span::styled(format!("  {name} {n}"), style));
        }
    }
    if counts.errors > 0 {
        left.push_span(Span::styled(
            format!("  err {}", counts.errors),
            theme.bad(),
        ));
    }
    if counts.pending > 0 {
        left.push_span(Span::raw(format!("  open {}", counts.pending)));
    }
    let style = if counts.failed > 0 {
        theme.bad()
    } else {
        theme.quiet()
    };
    left.push_span(Span::styled(format!("  failed {}", counts.failed), style));
    if let Some((p50, p95)) = model.percentiles() {
        left.push_span(Span::styled(
            format!("  p50 {} p95 {}", unit(p50), unit(p95)),
            theme.quiet(),
        ));
    }
    // Of the last minute: as fine as there is room for.
    for (buckets, label) in [(30, " 60s"), (15, " 60s"), (10, " 60s"), (10, "")] {
        let room = usize::from(width).saturating_sub(left.width() + 2);
        if buckets + label.len() <= room && (buckets <= 15 || width >= 110) {
            let line = Span::styled(sparkline(&model.arrivals(buckets)), theme.name());
            return ends(
                left,
                Line::from(vec![line, Span::styled(label, theme.quiet())]),
                width,
            );
        }
    }
    cut(left, usize::from(width))
}

fn unit(duration: std::time::Duration) -> String {
    text::duration(duration).replace(' ', "")
}

/// Block elements: a screen reader reads Braille patterns as letters.
fn sparkline(buckets: &[u32]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = buckets.iter().copied().max().unwrap_or(0).max(1);
    buckets
        .iter()
        .map(|n| match n {
            0 => '▁',
            // Anything that came stands above nothing.
            n => {
                let height = 1 + u64::from(*n) * 6 / u64::from(most);
                BLOCKS.get(height as usize).copied().unwrap_or('█')
            }
        })
        .collect()
}
