//! The screen, drawn from the model and nothing else.
//!
//! ```text
//! layout(model) ─► Areas ─┬─► draw: what stands where
//!                         └─► update: what a click hits
//! ```
//!
//! Words and glyphs say everything; colour only repeats it, so the screen reads the same without.

mod body;
mod detail;
mod empty;
pub(super) mod layout;
mod list;
pub(super) mod overlay;
mod status;
mod theme;

pub(super) use detail::page;

use super::keys::{self, Message, When};
use super::model::{Focus, Model, Mood};
use crate::text;
use layout::{Areas, Pane};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget as _};
use theme::Theme;

/// Draws one frame.
pub(super) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let areas = layout::layout(model, frame.area().as_size());
    let theme = Theme::new(model.color);
    status::draw(model, &areas, theme, frame);
    if let Some(area) = areas.empty {
        empty::draw(model, area, theme, frame);
    }
    if let Some(pane) = &areas.list {
        let title = format!(" Deliveries {} ", model.shown());
        pane_frame(pane, &title, model.focus == Focus::List, theme, frame);
        list::draw(model, pane, theme, frame);
    }
    if let Some(pane) = &areas.detail {
        pane_frame(pane, "", model.focus == Focus::Detail, theme, frame);
        detail::draw(model, &areas, pane, theme, frame);
    }
    for button in &areas.buttons {
        draw_line(
            Line::styled(button.label.clone(), theme.button()),
            button.area,
            frame,
        );
    }
    draw_line(info(model, areas.info.width, theme), areas.info, frame);
    draw_line(key_bar(model, areas.keys.width, theme), areas.keys, frame);
    if let Some(over) = &areas.overlay {
        frame.render_widget(Clear, over.frame);
        overlay::draw(model, over, theme, frame);
    }
    if model.typing && !areas.info.is_empty() && model.overlay.is_none() {
        let x = 3 + text::width(&text::visible(&model.filter)) as u16;
        let x = areas.info.x + x.min(areas.info.width.saturating_sub(1));
        frame.set_cursor_position(Position::new(x, areas.info.y));
    }
}

fn pane_frame(pane: &Pane, title: &str, focused: bool, theme: Theme, frame: &mut Frame<'_>) {
    if pane.bordered {
        let style = if focused {
            theme.frame_focused()
        } else {
            theme.frame()
        };
        let block = Block::bordered()
            .border_style(style)
            .title(Span::styled(title.to_owned(), style));
        frame.render_widget(block, pane.frame);
    }
}

/// The line above the keys: what just happened, else filter, position and FOLLOW.
fn info(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let follow = layout::follow_word(model);
    let mut right = String::new();
    if !model.is_empty() {
        if !model.filter.is_empty() || model.only_failed {
            right = format!("{} of {} shown · ", model.shown(), model.counts.all);
        }
        if !model.mouse {
            right.push_str("mouse off · ");
        }
        right.push_str(follow);
    }
    let mut left = Line::default();
    if model.typing || !model.filter.is_empty() {
        let filter = text::visible(&model.filter);
        left.push_span(Span::styled(format!(" / {filter}"), theme.strong()));
        left.push_span(Span::raw("  "));
    }
    if model.only_failed {
        left.push_span(Span::styled(" failed only  ", theme.bad()));
    }
    if !model.typing
        && let Some(toast) = &model.toast
    {
        let (glyph, style) = match toast.mood {
            Mood::Good => ("✓ ", theme.good()),
            Mood::Bad => ("✗ ", theme.bad()),
            Mood::Plain => ("· ", theme.strong()),
        };
        left = Line::from(Span::styled(format!(" {glyph}{}", toast.text), style));
    }
    ends(
        left,
        Line::styled(
            right,
            if model.follow {
                theme.strong()
            } else {
                theme.quiet()
            },
        ),
        width,
    )
}

fn key_bar(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let when = layout::when(model);
    let mut line = Line::raw(" ");
    for key in keys::KEYS.iter().filter(|key| key.when == when) {
        let Some((name, word)) = key.bar.and_then(|bar| bar.split_once(' ')) else {
            continue;
        };
        let always = matches!(key.message, Message::Help | Message::Quit);
        if when == When::Main && model.is_empty() && !always {
            continue;
        }
        if line.width() + text::width(name) + text::width(word) + 3 > usize::from(width) {
            break;
        }
        line.push_span(Span::styled(name, theme.key()));
        line.push_span(Span::styled(format!(" {word}  "), theme.quiet()));
    }
    line
}

/// `left` and `right` at the two ends of a row; `left` is cut where they would meet.
fn ends(left: Line<'static>, right: Line<'static>, width: u16) -> Line<'static> {
    let width = usize::from(width);
    let right_width = right.width() + 1;
    if right_width + 8 > width {
        return left;
    }
    let room = width - right_width - 1;
    let mut out = cut(left, room);
    let gap = (width - right_width).saturating_sub(out.width());
    out.push_span(Span::raw(" ".repeat(gap)));
    out.spans.extend(
        right
            .spans
            .into_iter()
            .map(|span| span.patch_style(right.style)),
    );
    out
}

/// `line` cut to `width` columns.
fn cut(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut out = Line::default().style(line.style);
    let mut room = width;
    for span in line.spans {
        let wide = span.width();
        if wide <= room {
            room -= wide;
            out.push_span(span);
            continue;
        }
        out.push_span(Span::styled(text::shorten(&span.content, room), span.style));
        break;
    }
    out
}

/// Draws `line` at the top of `area`, never outside it.
fn draw_line(line: Line<'_>, area: Rect, frame: &mut Frame<'_>) {
    let area = area.intersection(frame.area());
    if !area.is_empty() {
        line.render(area, frame.buffer_mut());
    }
}

/// Draws as many of `lines` as `area` is high.
fn draw_lines<'a>(lines: impl IntoIterator<Item = Line<'a>>, area: Rect, frame: &mut Frame<'_>) {
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        draw_line(
            line,
            Rect {
                y,
                height: 1,
                ..area
            },
            frame,
        );
    }
}

/// Where `areas` may be asked about after a resize that has not been drawn yet.
pub(super) fn areas(model: &Model) -> Areas {
    layout::layout(model, model.size)
}
