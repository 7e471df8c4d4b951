//! What stands over the panes: help, the copy menu, the questions.

use super::layout::{Over, below, line_up};
use super::theme::Theme;
use super::{draw_line, draw_lines};
use crate::text::{self, visible};
use crate::tui::keys::{self, Message, When};
use crate::tui::model::{Model, Overlay, status_cell};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

/// Where the open overlay stands.
pub(super) fn place(model: &Model, all: Rect) -> Option<Over> {
    let overlay = model.overlay.as_ref()?;
    let lines = content(model, overlay, Theme::new(false));
    let widest = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(text::width(title(overlay)) + 2);
    let buttons = wanted(overlay);
    let row = usize::from(!buttons.is_empty());
    // Border and one column of air on both sides.
    let width = (widest as u16).saturating_add(4).max(32).min(all.width);
    let height = ((lines.len() + 2 * row) as u16)
        .saturating_add(2)
        .min(all.height);
    let frame = Rect {
        x: (all.width - width) / 2,
        y: (all.height - height) / 2,
        width,
        height,
    };
    let inner = Rect {
        x: frame.x + 2.min(frame.width),
        y: frame.y + 1.min(frame.height),
        width: width.saturating_sub(4),
        height: height.saturating_sub(2),
    };
    let (body, foot) = below(inner, row as u16);
    let when = super::layout::when(model);
    Some(Over {
        frame,
        body,
        buttons: line_up(when, buttons, foot.x, foot),
    })
}

pub(super) fn draw(model: &Model, over: &Over, theme: Theme, frame: &mut Frame<'_>) {
    let Some(overlay) = &model.overlay else {
        return;
    };
    let block = Block::bordered()
        .border_style(theme.frame_focused())
        .title(Span::styled(
            format!(" {} ", title(overlay)),
            theme.strong(),
        ));
    frame.render_widget(block, over.frame);
    let lines = content(model, overlay, theme);
    let hidden = lines.len().saturating_sub(usize::from(over.body.height));
    let skip = scroll(overlay).min(hidden);
    draw_lines(lines.into_iter().skip(skip), over.body, frame);
    for button in &over.buttons {
        draw_line(
            Line::styled(button.label.clone(), theme.button()),
            button.area,
            frame,
        );
    }
}

/// Lines of the open overlay; the scroll must stay below their number.
pub(in crate::tui) fn height(model: &Model) -> usize {
    let content = |overlay| content(model, overlay, Theme::new(false)).len();
    model.overlay.as_ref().map_or(0, content)
}

fn scroll(overlay: &Overlay) -> usize {
    match overlay {
        Overlay::Help { scroll } | Overlay::Plan { scroll, .. } => *scroll,
        Overlay::Copy | Overlay::Quit => 0,
    }
}

fn title(overlay: &Overlay) -> &'static str {
    match overlay {
        Overlay::Help { .. } => "Keys",
        Overlay::Copy => "Copy",
        Overlay::Quit => "Quit",
        Overlay::Plan { .. } => "Replay failed",
    }
}

fn wanted(overlay: &Overlay) -> Vec<(Message, String)> {
    let button = |message, name: &str| (message, String::from(name));
    match overlay {
        Overlay::Help { .. } => vec![button(Message::Cancel, "Close")],
        Overlay::Copy => Vec::new(),
        Overlay::Quit => vec![
            button(Message::Confirm, "Quit"),
            button(Message::Cancel, "Stay"),
        ],
        Overlay::Plan { .. } => {
            vec![
                button(Message::Confirm, "Replay"),
                button(Message::Cancel, "Cancel"),
            ]
        }
    }
}

fn content(model: &Model, overlay: &Overlay, theme: Theme) -> Vec<Line<'static>> {
    match overlay {
        Overlay::Help { .. } => help(theme),
        Overlay::Copy => rows(When::Copy, theme).collect(),
        Overlay::Quit => vec![
            Line::styled("Quit? The URL stops working.", theme.strong()),
            Line::styled("What was recorded stays.", theme.quiet()),
            Line::default(),
        ],
        Overlay::Plan { ids, .. } => {
            let count = text::count(ids.len(), "failed delivery", "failed deliveries");
            let mut out = vec![
                Line::styled(
                    format!("Replay {count} to {}?", visible(&model.status.origin)),
                    theme.strong(),
                ),
                Line::styled(
                    "Oldest first; each becomes one more attempt.",
                    theme.quiet(),
                ),
                Line::default(),
            ];
            out.extend(
                ids.iter()
                    .filter_map(|id| model.delivery(*id))
                    .map(|delivery| {
                        let what = match &delivery.event {
                            Some(event) => visible(event).into_owned(),
                            None => format!(
                                "{} {}",
                                visible(&delivery.method),
                                visible(&delivery.target)
                            ),
                        };
                        let status = delivery
                            .latest()
                            .map_or(String::new(), |a| status_cell(&a.outcome));
                        Line::from(vec![
                            Span::styled(format!("{}  ", delivery.id.short()), theme.quiet()),
                            Span::styled(format!("{status}  "), theme.bad()),
                            Span::raw(text::shorten(&what, 40)),
                        ])
                    }),
            );
            out.push(Line::default());
            out
        }
    }
}

/// The whole table, place by place.
fn help(theme: Theme) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    for (when, name) in [
        (When::Main, "List and detail"),
        (When::Filter, "While filtering"),
        (When::Copy, "After y"),
        (When::Ask, "In a question"),
        (When::Help, "On this page"),
    ] {
        out.push(Line::styled(name, theme.strong()));
        out.extend(rows(when, theme));
        out.push(Line::default());
    }
    out.push(Line::styled("Mouse", theme.strong()));
    for (what, does) in [
        (
            "click",
            "selects a row, opens a tab, presses a button, copies the URL",
        ),
        ("double click", "opens the delivery on the whole screen"),
        ("wheel", "scrolls the pane under the pointer"),
    ] {
        out.push(Line::from(vec![
            Span::styled(format!("  {what:<13}"), theme.key()),
            Span::raw(does),
        ]));
    }
    out
}

fn rows(when: When, theme: Theme) -> impl Iterator<Item = Line<'static>> {
    let menu = |key: &&keys::Key| key.when != When::Copy || key.message != Message::Interrupt;
    keys::KEYS
        .iter()
        .filter(move |key| key.when == when)
        .filter(menu)
        .map(move |key| {
            Line::from(vec![
                Span::styled(format!("  {} ", text::fit(key.shown, 10)), theme.key()),
                Span::raw(key.help),
            ])
        })
}
