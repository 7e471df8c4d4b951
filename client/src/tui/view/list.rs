//! The list: one row for a delivery, its attempts below it when it is unfolded.

use super::layout::Pane;
use super::theme::Theme;
use super::{cut, draw_line};
use crate::text::{self, fit, fit_right, visible};
use crate::tui::model::{Focus, Model, Row, app_disagrees, attempt_of, badge, status_cell};
use capture::{Attempt, Delivery, Outcome, Retry, Trigger};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use signature::Verdict;
use std::sync::Arc;

/// Column widths for one pane; a column of width 0 is left out.
#[derive(Clone, Copy)]
struct Columns {
    time: usize,
    from: usize,
    event: usize,
    sig: usize,
    ms: usize,
    tries: usize,
    next: usize,
}

/// The cursor and the fold glyph.
const GUTTER: usize = 2;
const STATUS: usize = 3;

impl Columns {
    /// What fits into `width`. Columns leave in the order of what a reader misses least.
    fn of(width: usize) -> Columns {
        let mut columns = Columns {
            time: 8,
            from: 8,
            event: 0,
            sig: 6,
            ms: 5,
            tries: 4,
            next: 6,
        };
        loop {
            let Columns {
                time,
                from,
                sig,
                ms,
                tries,
                next,
                ..
            } = columns;
            let taken: usize = [time, from, STATUS, sig, ms, tries, next]
                .into_iter()
                .filter(|w| *w > 0)
                .map(|w| w + 1)
                .sum();
            let rest = width.saturating_sub(GUTTER + taken);
            if rest >= 12 {
                columns.event = rest;
                return columns;
            }
            match columns {
                Columns { tries: 1.., .. } => columns.tries = 0,
                Columns { from: 1.., .. } => columns.from = 0,
                Columns { ms: 1.., .. } => columns.ms = 0,
                Columns { next: 1.., .. } => columns.next = 0,
                Columns { time: 1.., .. } => columns.time = 0,
                Columns { sig: 1.., .. } => columns.sig = 0,
                _ => {
                    columns.event = rest;
                    return columns;
                }
            }
        }
    }
}

pub(super) fn draw(model: &Model, pane: &Pane, theme: Theme, frame: &mut Frame<'_>) {
    let columns = Columns::of(usize::from(pane.body.width));
    if !pane.head.is_empty() {
        draw_line(head(columns, theme), pane.head, frame);
    }
    let rows = model.rows.iter().enumerate().skip(model.top);
    for (y, (index, row)) in (pane.body.y..pane.body.bottom()).zip(rows) {
        let Some(delivery) = model.delivery(row.id) else {
            continue;
        };
        let selected = index == model.cursor;
        let mut line = match row.attempt.and_then(|n| attempt_of(delivery, n)) {
            Some(attempt) => child(model, row, delivery, attempt, columns, selected, theme),
            None => parent(model, delivery, columns, selected, theme),
        };
        let area = Rect {
            y,
            height: 1,
            ..pane.body
        };
        if selected {
            let pad = usize::from(area.width).saturating_sub(line.width());
            line.push_span(Span::raw(" ".repeat(pad)));
            let focused = model.focus == Focus::List;
            if focused {
                // One bar: reversed colours would make a patchwork of it.
                line.spans
                    .iter_mut()
                    .for_each(|span| span.style = Style::new());
            }
            line = line.patch_style(theme.selected(focused));
        }
        draw_line(cut(line, usize::from(area.width)), area, frame);
    }
    if model.rows.is_empty() {
        let nothing = if model.only_failed && model.filter.is_empty() {
            "  nothing has failed · Esc shows all"
        } else {
            "  nothing matches · Esc shows all"
        };
        draw_line(Line::styled(nothing, theme.quiet()), pane.body, frame);
    }
}

fn head(columns: Columns, theme: Theme) -> Line<'static> {
    let mut cells = Cells::new(String::from("  "), Style::new());
    cells.left("TIME", columns.time, Style::new());
    cells.left("FROM", columns.from, Style::new());
    cells.left("EVENT", columns.event, Style::new());
    cells.left("ST", STATUS, Style::new());
    cells.left("SIG", columns.sig, Style::new());
    cells.right("MS", columns.ms, Style::new());
    cells.right("TRY", columns.tries, Style::new());
    cells.right("NEXT", columns.next, Style::new());
    cells.line.style(theme.quiet())
}

fn parent(
    model: &Model,
    delivery: &Arc<Delivery>,
    columns: Columns,
    selected: bool,
    theme: Theme,
) -> Line<'static> {
    let fold = match (
        delivery.attempts.len() > 1,
        model.unfolded.contains(&delivery.id),
    ) {
        (true, true) => "▾",
        (true, false) => "▸",
        (false, _) => " ",
    };
    let mut cells = Cells::new(
        format!("{}{fold}", if selected { "▌" } else { " " }),
        Style::new(),
    );
    cells.left(&(model.clock)(delivery.at), columns.time, theme.quiet());
    let from = delivery.provider.as_deref().unwrap_or("-");
    cells.left(&visible(from), columns.from, Style::new());
    let event = match &delivery.event {
        Some(event) => visible(event).into_owned(),
        None => format!(
            "{} {}",
            visible(&delivery.method),
            visible(&delivery.target)
        ),
    };
    let event = match columns.from {
        0 if delivery.event.is_some() && delivery.provider.is_some() => {
            format!("{} {event}", visible(from))
        }
        _ => event,
    };
    cells.left(&event, columns.event, theme.strong());
    if let Some(attempt) = delivery.latest() {
        result(&mut cells, model, attempt, columns, theme);
    }
    cells.right(&tries(delivery), columns.tries, Style::new());
    let (next, style) = next(model, delivery, theme);
    cells.right(&next, columns.next, style);
    cells.line
}

fn child(
    model: &Model,
    row: &Row,
    delivery: &Arc<Delivery>,
    attempt: &Attempt,
    columns: Columns,
    selected: bool,
    theme: Theme,
) -> Line<'static> {
    let mark = if selected { "▌" } else { " " };
    let branch = if row.last { "└" } else { "├" };
    let mut cells = Cells::new(format!("{mark} "), Style::new());
    cells.left(&(model.clock)(attempt.at), columns.time, theme.quiet());
    cells.left(
        &format!("{branch} #{}", attempt.n),
        columns.from,
        theme.quiet(),
    );
    cells.left(&trigger(attempt, delivery), columns.event, Style::new());
    result(&mut cells, model, attempt, columns, theme);
    cells.right("", columns.tries, Style::new());
    let who = if attempt.trigger == Trigger::Replay {
        "you"
    } else {
        ""
    };
    cells.right(who, columns.next, theme.quiet());
    cells.line
}

/// Why an attempt was made, in the words of the list.
pub(super) fn trigger(attempt: &Attempt, delivery: &Delivery) -> String {
    match attempt.trigger {
        Trigger::Live => String::from("first try"),
        Trigger::Retry => {
            let provider = delivery.provider.as_deref().unwrap_or("the sender");
            format!("retry by {}", visible(provider))
        }
        Trigger::Replay => String::from("↺ replay"),
        Trigger::Held => String::from("held, then sent"),
    }
}

/// The cells that say how an attempt went.
fn result(cells: &mut Cells, model: &Model, attempt: &Attempt, columns: Columns, theme: Theme) {
    let (status, style) = status_of(attempt, theme);
    cells.left(&status, STATUS, style);
    let (badge, style) = badge_of(attempt, theme);
    cells.left(badge, columns.sig, style);
    let took = match (&attempt.outcome, attempt.duration()) {
        (Outcome::Pending, _) => text::duration_cell(model.now.wall.since(attempt.at)),
        (_, Some(took)) => text::duration_cell(took),
        (_, None) => String::from("-"),
    };
    cells.right(&took, columns.ms, theme.quiet());
}

/// The status cell and its style.
pub(super) fn status_of(attempt: &Attempt, theme: Theme) -> (String, Style) {
    let style = match &attempt.outcome {
        Outcome::Pending => theme.warn(),
        Outcome::Answered { status, .. } => theme.by_status(*status),
        Outcome::Failed { .. } => theme.bad(),
    };
    (status_cell(&attempt.outcome), style)
}

/// The signature badge and its style.
pub(super) fn badge_of(attempt: &Attempt, theme: Theme) -> (&'static str, Style) {
    let style = match attempt.signature.verdict {
        _ if app_disagrees(&attempt.signature, &attempt.outcome) => theme.warn(),
        Verdict::Valid => theme.good(),
        Verdict::Invalid => theme.bad(),
        Verdict::Stale | Verdict::Missing | Verdict::NoSecret => theme.warn(),
        Verdict::None => theme.quiet(),
    };
    (badge(&attempt.signature, &attempt.outcome), style)
}

/// Tries by the sender so far, of how many, where that is known. Replays are ours and not counted.
fn tries(delivery: &Delivery) -> String {
    let sent = delivery
        .attempts
        .iter()
        .filter(|a| a.trigger != Trigger::Replay)
        .count();
    match delivery.retry {
        Retry::At { of, .. } => format!("{sent}/{}", of.saturating_add(1)),
        Retry::Never => format!("{sent}/1"),
        Retry::Unknown | Retry::NotDue | Retry::Exhausted => format!("{sent}"),
    }
}

/// When the sender comes again.
fn next(model: &Model, delivery: &Delivery, theme: Theme) -> (String, Style) {
    let done = delivery.attempts.iter().any(|a| a.outcome.is_success());
    match delivery.retry {
        Retry::At { at, .. } if at <= model.now.wall => (String::from("due"), theme.warn()),
        Retry::At { at, .. } => {
            let left = at.since(model.now.wall);
            (text::countdown(left), theme.warn())
        }
        Retry::Exhausted => (String::from("dead"), theme.bad()),
        _ if done => (String::from("done"), theme.quiet()),
        Retry::Never => (String::from("none"), theme.quiet()),
        Retry::NotDue => (String::from("-"), theme.quiet()),
        Retry::Unknown => (String::from("?"), theme.quiet()),
    }
}

/// Cells of one row, a space between them.
struct Cells {
    line: Line<'static>,
}

impl Cells {
    fn new(gutter: String, style: Style) -> Cells {
        Cells {
            line: Line::from(Span::styled(gutter, style)),
        }
    }

    fn left(&mut self, text: &str, columns: usize, style: Style) {
        self.push(fit(text, columns), columns, style);
    }

    fn right(&mut self, text: &str, columns: usize, style: Style) {
        self.push(fit_right(text, columns), columns, style);
    }

    fn push(&mut self, cell: String, columns: usize, style: Style) {
        if columns > 0 {
            self.line.push_span(Span::styled(cell, style));
            self.line.push_span(Span::raw(" "));
        }
    }
}
