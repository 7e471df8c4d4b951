//! The detail: one delivery, or one attempt of it, in four tabs.

use super::layout::{Areas, Pane};
use super::list::{badge_of, status_of, trigger};
use super::theme::Theme;
use super::{body, draw_line, draw_lines};
use crate::text::{self, visible, visible_bytes};
use crate::tui::Detail;
use crate::tui::model::{Focus, Model, Tab, app_disagrees};
use capture::{Attempt, Delivery, Fields, Outcome, Retry, Timing, Trigger};
use ratatui::Frame;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use signature::Verdict;
use std::time::Duration;

pub(super) fn draw(model: &Model, areas: &Areas, pane: &Pane, theme: Theme, frame: &mut Frame<'_>) {
    let focused = model.focus == Focus::Detail;
    if !pane.bordered {
        let style = if focused {
            theme.frame_focused()
        } else {
            theme.frame()
        };
        let rule = "─".repeat(usize::from(pane.head.width));
        draw_line(Line::styled(rule, style), pane.head, frame);
    }
    for (area, tab, label) in &areas.tabs {
        let style = if *tab == model.tab {
            theme.active_tab()
        } else {
            Style::new()
        };
        draw_line(Line::styled(label.clone(), style), *area, frame);
    }
    let height = usize::from(pane.body.height);
    let lines = model
        .page
        .lines
        .iter()
        .skip(model.scroll)
        .take(height)
        .cloned();
    draw_lines(lines, pane.body, frame);
    let hidden = model.page.lines.len().saturating_sub(height);
    if hidden > 0 {
        let left = match hidden.saturating_sub(model.scroll) {
            0 => String::from(" end "),
            more => format!(" {more} more ↓ "),
        };
        let width = text::width(&left) as u16;
        let mut area = pane.head;
        area.x = pane.frame.right().saturating_sub(width + 1);
        area.width = width;
        if areas
            .tabs
            .last()
            .is_none_or(|(last, ..)| last.right() <= area.x)
        {
            draw_line(Line::styled(left, theme.quiet()), area, frame);
        }
    }
}

/// The lines of the open tab, at most `width` wide. In a `short` pane the body comes before the
/// headers.
pub(in crate::tui) fn page(model: &Model, width: u16, short: bool) -> Vec<Line<'static>> {
    let theme = Theme::new(model.color);
    let columns = usize::from(width.saturating_sub(2)).max(1);
    let mut writer = Writer {
        model,
        theme,
        columns,
        lines: Vec::new(),
    };
    match model.current() {
        None => writer.text("nothing is selected", theme.quiet()),
        Some((delivery, attempt)) => match model.tab {
            Tab::Request => writer.request(delivery, attempt, short),
            Tab::Response => writer.response(delivery, attempt, short),
            Tab::Signature => writer.signature(delivery, attempt),
            Tab::Attempts => writer.attempts(delivery, attempt),
        },
    }
    let mut out = Vec::new();
    for line in writer.lines {
        text::wrap(line, columns, &mut out);
    }
    for line in &mut out {
        line.spans.insert(0, Span::raw(" "));
    }
    out
}

struct Writer<'a> {
    model: &'a Model,
    theme: Theme,
    columns: usize,
    lines: Vec<Line<'static>>,
}

impl Writer<'_> {
    fn request(&mut self, delivery: &Delivery, attempt: &Attempt, short: bool) {
        let theme = self.theme;
        let Some(detail) = self.loaded(delivery, attempt) else {
            let first = format!(
                "{} {}",
                visible(&delivery.method),
                visible(&delivery.target)
            );
            self.lines.insert(0, Line::styled(first, theme.strong()));
            return;
        };
        let request = &detail.request;
        self.lines.push(Line::from(vec![
            Span::styled(visible(&request.method).into_owned(), theme.active_tab()),
            Span::styled(format!(" {}", visible(&request.target)), theme.strong()),
            Span::styled(format!(" {}", request.version), theme.quiet()),
        ]));
        self.text(
            format!(
                "{} · from {} · {}",
                (self.model.clock)(request.at),
                visible(&request.remote),
                request.id
            ),
            theme.quiet(),
        );
        self.note(attempt);
        self.message(&request.fields, &request.body, &request.trailers, short);
    }

    fn response(&mut self, delivery: &Delivery, attempt: &Attempt, short: bool) {
        let theme = self.theme;
        let (status, style) = status_of(attempt, theme);
        match &attempt.outcome {
            Outcome::Pending => {
                let since = self.model.now.wall.since(attempt.at);
                let line = format!("··· no answer yet, {}", text::duration(since));
                return self.text(line, theme.warn());
            }
            Outcome::Failed {
                status: sent,
                cause,
                why,
                may_have_run,
            } => {
                self.lines.push(Line::from(vec![
                    Span::styled(format!("{status}  "), style),
                    Span::styled(visible(why).into_owned(), theme.strong()),
                ]));
                let got = sent.map_or(String::from("no status"), |status| status.to_string());
                let told = match attempt.trigger {
                    Trigger::Replay => format!("cause: {}", visible(cause)),
                    _ => format!("the sender got {got} · Adit-Cause: {}", visible(cause)),
                };
                self.text(told, theme.quiet());
                self.text(
                    ran(*may_have_run),
                    if *may_have_run {
                        theme.warn()
                    } else {
                        theme.quiet()
                    },
                );
                if cause == "app-refused" {
                    self.lines.push(Line::from(vec![
                        Span::styled("→ ", theme.key()),
                        Span::raw("start your app, then press r to replay this one"),
                    ]));
                }
            }
            Outcome::Answered { .. } => {}
        }
        let Some(detail) = self.loaded(delivery, attempt) else {
            return;
        };
        let Some(response) = &detail.response else {
            if matches!(attempt.outcome, Outcome::Answered { .. }) {
                self.text("the answer was not recorded", theme.quiet());
            }
            return;
        };
        let took = attempt.duration().map_or(String::new(), text::duration);
        self.lines.push(Line::from(vec![
            Span::styled(
                response.status.to_string(),
                theme.by_status(response.status),
            ),
            Span::styled(format!(" {}", visible(&response.reason)), theme.strong()),
            Span::styled(
                format!(
                    "  {took} · {} · {}",
                    text::bytes(response.body.len),
                    visible(&attempt.origin)
                ),
                theme.quiet(),
            ),
        ]));
        self.note(attempt);
        self.message(&response.fields, &response.body, &response.trailers, short);
    }

    /// Headers and body; in a `short` pane the body first.
    fn message(&mut self, fields: &Fields, body: &capture::Body, trailers: &Fields, short: bool) {
        let (title, mut lines) =
            body::lines(fields, body, self.model.exact, self.columns, self.theme);
        if !short {
            self.fields("headers", fields);
        }
        self.section(&title);
        self.lines.append(&mut lines);
        if short {
            self.fields("headers", fields);
        }
        if !trailers.is_empty() {
            self.fields("trailers", trailers);
        }
    }

    fn fields(&mut self, title: &str, fields: &Fields) {
        // "1 header, as it came".
        let (title, came) = match fields.len() {
            1 => (title.trim_end_matches('s'), "it"),
            _ => (title, "they"),
        };
        self.section(&format!("{} {title}, as {came} came", fields.len()));
        for (name, value) in fields {
            self.lines.push(Line::from(vec![
                Span::styled(visible_bytes(name).into_owned(), self.theme.name()),
                Span::styled(": ", self.theme.quiet()),
                Span::raw(visible_bytes(value).into_owned()),
            ]));
        }
    }

    fn signature(&mut self, delivery: &Delivery, attempt: &Attempt) {
        let theme = self.theme;
        let judgement = &attempt.signature;
        let (badge, style) = badge_of(attempt, theme);
        let split = app_disagrees(judgement, &attempt.outcome);
        let says = match judgement.verdict {
            Verdict::Valid if split => "valid here, and your app rejected it",
            Verdict::Valid => "the signature is valid",
            Verdict::Invalid => "the signature is invalid",
            Verdict::Stale => "the signature is right, its timestamp is not",
            Verdict::Missing => "the signature is missing",
            Verdict::NoSecret => "not checked: no secret is configured",
            Verdict::None => "nothing to check",
        };
        self.lines.push(Line::from(vec![
            Span::styled(format!("{badge}  "), style),
            Span::styled(says, theme.strong()),
        ]));
        self.blank();
        if let Some(why) = &judgement.why {
            self.pair("why", visible(why).into_owned(), Style::new());
        }
        if let Some(provider) = &judgement.provider {
            self.pair("scheme", visible(provider).into_owned(), Style::new());
        }
        if let Some(secret) = judgement.secret {
            self.pair(
                "secret",
                format!("#{secret} of the configured ones"),
                Style::new(),
            );
        }
        if let Some(reading) = &judgement.reading {
            self.pair("reading", visible(reading).into_owned(), Style::new());
        }
        let (status, style) = status_of(attempt, theme);
        let app = match &attempt.outcome {
            Outcome::Pending => String::from("··· no answer yet"),
            Outcome::Answered { .. } => status,
            Outcome::Failed { why, .. } => format!("{status} {}", visible(why)),
        };
        self.pair("app", app, style);
        if let Some(hint) = &judgement.hint {
            self.blank();
            self.lines.push(Line::from(vec![
                Span::styled("→ ", theme.key()),
                Span::styled(visible(&hint.sentence).into_owned(), theme.strong()),
            ]));
            self.text(visible(&hint.code).into_owned(), theme.quiet());
        }
        self.blank();
        for sentence in advice(attempt, self.model) {
            self.text(sentence, Style::new());
        }
        self.retry(delivery);
    }

    fn attempts(&mut self, delivery: &Delivery, current: &Attempt) {
        let theme = self.theme;
        for attempt in &delivery.attempts {
            let here = attempt.n == current.n;
            let (status, style) = status_of(attempt, theme);
            let (badge, badge_style) = badge_of(attempt, theme);
            let mut line = Line::from(vec![
                Span::styled(
                    format!("{} #{:<2} ", if here { "▸" } else { " " }, attempt.n),
                    if here { theme.strong() } else { theme.quiet() },
                ),
                Span::raw(format!("{}  ", (self.model.clock)(attempt.at))),
                Span::styled(format!("{status}  "), style),
                Span::styled(text::fit(badge, 7), badge_style),
            ]);
            if let Some(took) = attempt.duration() {
                line.push_span(Span::raw(format!("{}  ", text::duration(took))));
            }
            let narrow = self.columns < 60;
            if let Outcome::Answered { bytes, .. } = attempt.outcome
                && !narrow
            {
                line.push_span(Span::styled(
                    format!("{}  ", text::bytes(bytes)),
                    theme.quiet(),
                ));
            }
            let why = match narrow {
                true => String::from(attempt.trigger.as_str()),
                false => trigger(attempt, delivery),
            };
            line.push_span(Span::styled(why, theme.quiet()));
            self.lines.push(line);
            if let Outcome::Failed {
                cause,
                why,
                may_have_run,
                ..
            } = &attempt.outcome
            {
                let ran = if *may_have_run {
                    format!(" · {}", ran(true))
                } else {
                    String::new()
                };
                self.text(
                    format!("       {} ({}){ran}", visible(why), visible(cause)),
                    Style::new(),
                );
            }
        }
        self.retry(delivery);
        self.timing(current);
        self.note(current);
    }

    /// What the sender does next.
    fn retry(&mut self, delivery: &Delivery) {
        let provider = delivery
            .provider
            .as_deref()
            .map_or("the sender".into(), visible);
        self.section("what comes next");
        match delivery.retry {
            Retry::At { at, number, of } => {
                let from = delivery.latest().map_or(at, |a| a.at);
                let left = at.since(self.model.now.wall);
                let line = if left.is_zero() {
                    format!("{provider} is due to send it again: retry {number} of {of}")
                } else {
                    let left = text::countdown(left);
                    format!("{provider} sends it again in {left}: retry {number} of {of}")
                };
                self.text(line, Style::new());
                let whole = at.since(from).as_secs_f64().max(0.001);
                let gone = (1.0 - left.as_secs_f64() / whole).clamp(0.0, 1.0);
                let width = self.columns.saturating_sub(8).min(40);
                let full = (gone * width as f64) as usize;
                self.text(
                    format!(
                        "▕{}{}▏ {:.0}%",
                        "█".repeat(full),
                        "░".repeat(width - full),
                        gone * 100.0
                    ),
                    self.theme.warn(),
                );
            }
            Retry::Never => {
                self.text(
                    format!("{provider} does not send it again by itself; r replays it"),
                    Style::new(),
                );
            }
            Retry::NotDue => {
                let line = match delivery.latest().map(|a| &a.outcome) {
                    Some(Outcome::Pending) => "the answer is still on its way",
                    _ => "nothing: it was accepted, so no retry is due",
                };
                self.text(line, Style::new());
            }
            Retry::Exhausted => {
                self.text(
                    format!("{provider} has given up; r replays it"),
                    self.theme.bad(),
                );
            }
            Retry::Unknown => self.text(
                "not known: no retry schedule is published",
                self.theme.quiet(),
            ),
        }
    }

    /// Where the time of one attempt went, step by step.
    fn timing(&mut self, attempt: &Attempt) {
        let steps = steps(&attempt.timing);
        let Some(end) = steps.iter().map(|(_, _, to)| *to).max() else {
            return;
        };
        self.section(&format!(
            "timing of #{} → {}",
            attempt.n,
            visible(&attempt.origin)
        ));
        let width = self.columns.saturating_sub(29).min(40);
        let scale = |at: Duration| {
            (at.as_secs_f64() / end.as_secs_f64().max(1e-9) * width as f64).round() as usize
        };
        for (name, from, to) in steps {
            let start = scale(from).min(width.saturating_sub(1));
            let len = scale(to)
                .saturating_sub(start)
                .clamp(1, width.saturating_sub(start).max(1));
            let bar = format!("{}{}", " ".repeat(start), "█".repeat(len));
            self.lines.push(Line::from(vec![
                Span::raw(format!("{name:<17}")),
                Span::styled(text::fit(&bar, width), self.theme.name()),
                Span::raw(format!(" {:>9}", text::duration(to.saturating_sub(from)))),
            ]));
        }
    }

    /// The exact bytes, or a line that says where they are.
    fn loaded(&mut self, delivery: &Delivery, attempt: &Attempt) -> Option<std::sync::Arc<Detail>> {
        let slot = self.model.details.get(&(delivery.id, attempt.n));
        match slot.and_then(|slot| slot.result.clone()) {
            Some(Ok(detail)) => return Some(detail),
            Some(Err(why)) => self.text(visible(&why).into_owned(), self.theme.bad()),
            None => self.text("reading …", self.theme.quiet()),
        }
        None
    }

    fn note(&mut self, attempt: &Attempt) {
        if let Some(note) = &attempt.note {
            self.text(format!("note: {}", visible(note)), self.theme.warn());
        }
    }

    fn pair(&mut self, name: &str, value: String, style: Style) {
        self.lines.push(Line::from(vec![
            Span::styled(format!("{name:<8}"), self.theme.quiet()),
            Span::styled(value, style),
        ]));
    }

    fn section(&mut self, title: &str) {
        let title = format!("── {title} ");
        let rest = self.columns.saturating_sub(text::width(&title));
        self.text(format!("{title}{}", "─".repeat(rest)), self.theme.quiet());
    }

    fn text(&mut self, text: impl Into<String>, style: Style) {
        self.lines.push(Line::styled(text.into(), style));
    }

    fn blank(&mut self) {
        self.lines.push(Line::default());
    }
}

fn ran(may_have_run: bool) -> &'static str {
    match may_have_run {
        true => "your app may have acted on it all the same",
        false => "your app has not seen it",
    }
}

/// What the verdict and the app's answer together tell.
fn advice(attempt: &Attempt, model: &Model) -> Vec<String> {
    let judgement = &attempt.signature;
    let status = match attempt.outcome {
        Outcome::Answered { status, .. } => Some(status),
        _ => None,
    };
    let accepted = status.is_some_and(|status| (200..300).contains(&status));
    let provider = judgement.provider.as_deref().unwrap_or("the provider");
    let provider = visible(provider);
    match judgement.verdict {
        Verdict::Valid if app_disagrees(judgement, &attempt.outcome) => {
            let url = model
                .status
                .url
                .as_deref()
                .map_or("the public URL".into(), visible);
            vec![
                format!("{provider} signed exactly these bytes, so look at your app's own check:"),
                String::from("· it may hash parsed and re-encoded data instead of the raw body"),
                format!("· it may build the signed URL from http:// or localhost instead of {url}"),
                String::from("· its secret may differ from the one that matched here"),
            ]
        }
        Verdict::Valid => {
            vec![format!(
                "{provider} signed exactly these bytes, and nothing changed on the way."
            )]
        }
        Verdict::Invalid | Verdict::Missing | Verdict::Stale if accepted => vec![String::from(
            "Your app accepted it all the same: it does not check, or it checks something else.",
        )],
        Verdict::Invalid | Verdict::Missing | Verdict::Stale => Vec::new(),
        Verdict::NoSecret => {
            let name = env_name(&provider);
            vec![format!(
                "Set {name}, or give --secret, and start again to have it checked."
            )]
        }
        Verdict::None => vec![String::from(
            "No scheme is configured or recognised for this request.",
        )],
    }
}

/// The environment variable that holds a provider's secret.
fn env_name(provider: &str) -> String {
    let upper = provider.to_ascii_uppercase();
    let name: String = upper
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("ADIT_SECRET_{name}")
}

/// The steps of an attempt: name, begin, end. A step that did not happen is left out.
fn steps(timing: &Timing) -> Vec<(&'static str, Duration, Duration)> {
    let mut out = Vec::new();
    let mut from = Duration::ZERO;
    let mut step = |name, to: Option<Duration>, from: &mut Duration| {
        if let Some(to) = to {
            out.push((name, (*from).min(to), to));
            *from = to.max(*from);
        }
    };
    step("connect", timing.connected, &mut from);
    step("send head", timing.sent, &mut from);
    step("app works", timing.head, &mut from);
    step("answer", timing.done, &mut from);
    if let Some(received) = timing.received {
        out.insert(0, ("request comes in", Duration::ZERO, received));
    }
    out
}
