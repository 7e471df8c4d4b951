//! The page before the first request: what to paste at the provider, how to try without one.

use super::draw_lines;
use super::theme::Theme;
use crate::status::State;
use crate::text::{self, visible};
use crate::tui::model::Model;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub(super) fn draw(model: &Model, area: Rect, theme: Theme, frame: &mut Frame<'_>) {
    let lines = lines(model, area.width.saturating_sub(2), area.height, theme);
    // A little lower than the top where there is room, never at the cost of a line.
    let spare = area
        .height
        .saturating_sub(lines.len() as u16)
        .min(area.height / 8);
    let area = Rect {
        x: area.x + area.width.min(2),
        y: area.y + spare,
        width: area.width.saturating_sub(2),
        height: area.height - spare,
    };
    draw_lines(lines, area, frame);
}

fn lines(model: &Model, width: u16, height: u16, theme: Theme) -> Vec<Line<'static>> {
    let title = |text: &'static str| Line::styled(text, theme.strong());
    let quiet = |text: String| Line::styled(text, theme.quiet());
    // A command that is too wide goes on in the next row, the way a shell takes it.
    let command = |parts: Vec<String>, out: &mut Vec<Line<'static>>| {
        let first = Span::styled("  $ ", theme.quiet());
        let mut row = Line::from(vec![first]);
        for (n, part) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let needed = text::width(part) + if last { 1 } else { 3 };
            if n > 0 && row.width() + needed > usize::from(width) {
                row.push_span(Span::styled(" \\", theme.name()));
                out.push(std::mem::replace(&mut row, Line::raw("     ")));
            }
            let space = if n == 0 { "" } else { " " };
            row.push_span(Span::styled(format!("{space}{part}"), theme.name()));
        }
        out.push(row);
    };
    let tips = &model.tips;
    let mut out = Vec::new();
    let Some(url) = model.status.url.as_deref().map(visible) else {
        let what = match model.status.state {
            State::Offline => "There is no public URL.",
            _ => "The public URL appears here as soon as the relay has answered.",
        };
        out.push(title(what));
        if let Some(reason) = &model.status.reason {
            out.push(Line::styled(visible(reason).into_owned(), theme.warn()));
        }
        return out;
    };
    let target = format!("{url}{}", visible(&tips.path));
    out.push(match model.status.state {
        State::Online => title("Ready. Waiting for the first request."),
        State::Offline => title("The URL below does not work any more."),
        _ => title("The URL below works again as soon as the tunnel is back."),
    });
    out.push(Line::default());
    out.push(Line::raw("Paste this at the provider"));
    out.push(Line::styled(format!("  {target}"), theme.link()));
    out.push(quiet(String::from(
        "  any path works; Y or a click on the URL above copies it",
    )));
    out.push(Line::default());
    out.push(Line::raw("Try it without a provider"));
    if let Some(send) = &tips.send {
        command(
            vec![visible(send).into_owned(), format!("--to {target}")],
            &mut out,
        );
    }
    let mut curl = vec![String::from("curl")];
    curl.extend(
        tips.ca
            .as_deref()
            .map(|ca| format!("--cacert {}", visible(ca))),
    );
    curl.extend([String::from("-d hello=world"), target.clone()]);
    command(curl, &mut out);
    out.push(Line::default());
    out.push(Line::raw("Signatures"));
    if tips.secrets.is_empty() {
        out.push(quiet(String::from(
            "  shown as ? KEY until a secret is known: set ADIT_SECRET_CLOUDVNO",
        )));
        out.push(quiet(String::from(
            "  or give --secret cloudvno=env:NAME, then start again",
        )));
    } else {
        let known: Vec<_> = tips.secrets.iter().map(|name| visible(name)).collect();
        out.push(quiet(format!(
            "  checked with the secrets known for: {}",
            known.join(", ")
        )));
    }
    if model.status.embedded {
        out.push(Line::default());
        out.push(Line::styled(
            "This URL works on this machine only",
            theme.warn(),
        ));
        out.push(quiet(String::from(
            "  no relay is configured; for a public one: --relay HOST --token …",
        )));
    }
    if out.len() > usize::from(height) {
        out.retain(|line| line.width() > 0);
    }
    out
}
