//! What stands where, for `draw` and for the mouse.

use super::{overlay, status};
use crate::text;
use crate::tui::keys::{self, Message, When};
use crate::tui::model::{Focus, Model, Overlay, Tab};
use capture::Outcome;
use ratatui::layout::{Position, Rect, Size};

/// Below this the screen is the list and one status line.
const SMALL: Size = Size {
    width: 60,
    height: 16,
};
/// From this width on, list and detail stand side by side.
const WIDE: u16 = 110;

/// A pane with its inner parts; those it does not have are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tui) struct Pane {
    /// All of it, border included.
    pub frame: Rect,
    pub bordered: bool,
    /// The list's column titles, or the detail's row of tabs.
    pub head: Rect,
    /// The rows that scroll.
    pub body: Rect,
}

/// Something that can be clicked instead of pressing its key.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Button {
    pub area: Rect,
    pub label: String,
    pub message: Message,
}

/// A box over the panes.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Over {
    pub frame: Rect,
    pub body: Rect,
    pub buttons: Vec<Button>,
}

/// The whole screen.
#[derive(Clone, Debug, Default)]
pub(in crate::tui) struct Areas {
    pub status: Rect,
    /// The public URL in the status line; a click copies it.
    pub url: Rect,
    pub counters: Rect,
    pub list: Option<Pane>,
    pub detail: Option<Pane>,
    pub tabs: Vec<(Rect, Tab, String)>,
    /// The page before the first request.
    pub empty: Option<Rect>,
    pub buttons: Vec<Button>,
    pub info: Rect,
    pub keys: Rect,
    /// The word at the right end of `info`.
    pub follow: Rect,
    pub overlay: Option<Over>,
}

/// What a position belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Hit {
    /// A button, a tab, the URL: does what its key does.
    Message(Message),
    /// This row of the list, counted from the first one.
    Row(usize),
    List,
    Detail,
    Overlay,
    Nothing,
}

impl Areas {
    /// What lies at `at`.
    pub(in crate::tui) fn hit(&self, at: Position, model: &Model) -> Hit {
        if let Some(over) = &self.overlay {
            let button = over.buttons.iter().find(|b| b.area.contains(at));
            return button.map_or(Hit::Overlay, |b| Hit::Message(b.message));
        }
        if let Some(button) = self.buttons.iter().find(|b| b.area.contains(at)) {
            return Hit::Message(button.message);
        }
        if self.url.contains(at) {
            return Hit::Message(Message::CopyPublicUrl);
        }
        if self.follow.contains(at) {
            return Hit::Message(Message::Follow);
        }
        if let Some((_, tab, _)) = self.tabs.iter().find(|(area, ..)| area.contains(at)) {
            return Hit::Message(Message::Tab(*tab));
        }
        if let Some(pane) = &self.list {
            if pane.body.contains(at) {
                let row = model.top + usize::from(at.y - pane.body.y);
                return if row < model.rows.len() {
                    Hit::Row(row)
                } else {
                    Hit::List
                };
            }
            if pane.frame.contains(at) {
                return Hit::List;
            }
        }
        if self.detail.is_some_and(|pane| pane.frame.contains(at)) {
            return Hit::Detail;
        }
        Hit::Nothing
    }
}

/// Where keys go now.
pub(in crate::tui) fn when(model: &Model) -> When {
    match &model.overlay {
        Some(Overlay::Help { .. }) => When::Help,
        Some(Overlay::Copy) => When::Copy,
        Some(Overlay::Quit | Overlay::Plan { .. }) => When::Ask,
        None if model.typing => When::Filter,
        None => When::Main,
    }
}

/// Divides `size` for what `model` shows.
pub(in crate::tui) fn layout(model: &Model, size: Size) -> Areas {
    let all = Rect::new(0, 0, size.width, size.height);
    let row = |y: u16| Rect::new(0, y, size.width, 1).intersection(all);
    let mut areas = Areas {
        status: row(0),
        url: status::url_area(model, row(0)),
        ..Areas::default()
    };
    if size.width < SMALL.width || size.height < SMALL.height {
        let rest = Rect {
            y: 1,
            height: size.height.saturating_sub(1),
            ..all
        }
        .intersection(all);
        let narrowed = !model.filter.is_empty() || model.only_failed;
        let said = model.toast.is_some() || model.typing || narrowed;
        let (rest, info) = if rest.height > 2 && said {
            below(rest, 1)
        } else {
            (rest, Rect::ZERO)
        };
        areas.info = info;
        if model.is_empty() {
            areas.empty = Some(rest);
        } else if model.focus == Focus::Detail {
            areas.detail = Some(open(rest));
        } else {
            areas.list = Some(Pane {
                frame: rest,
                body: rest,
                ..Pane::default()
            });
        }
    } else {
        areas.counters = row(1);
        areas.keys = row(size.height - 1);
        areas.info = row(size.height - 2);
        if !model.is_empty() {
            let word = text::width(follow_word(model)) as u16 + 1;
            areas.follow = Rect {
                x: areas.info.right().saturating_sub(word),
                width: word.min(areas.info.width),
                ..areas.info
            };
        }
        let middle = Rect {
            y: 2,
            height: size.height - 5,
            ..all
        };
        areas.buttons = buttons(model, row(size.height - 3));
        if model.is_empty() {
            areas.empty = Some(middle);
        } else if model.zoom {
            match (model.focus, size.width >= WIDE) {
                (Focus::List, true) => areas.list = Some(bordered(middle)),
                (Focus::List, false) => areas.list = Some(open(middle)),
                (Focus::Detail, true) => areas.detail = Some(framed(middle)),
                (Focus::Detail, false) => areas.detail = Some(open(middle)),
            }
        } else if size.width >= WIDE {
            // The list's columns need 67 to show `message.received` whole at 120.
            let list = size.width * 58 / 100;
            areas.list = Some(bordered(Rect {
                width: list,
                ..middle
            }));
            areas.detail = Some(framed(Rect {
                x: list,
                width: size.width - list,
                ..middle
            }));
        } else {
            let (above, detail) = below(middle, middle.height - (1 + (middle.height - 2) / 2));
            areas.list = Some(open(above));
            areas.detail = Some(open(detail));
        }
    }
    if let Some(detail) = &areas.detail {
        areas.tabs = tabs(model, detail);
    }
    areas.overlay = overlay::place(model, all);
    areas
}

/// What the end of the info line says, and a click on it changes.
pub(super) fn follow_word(model: &Model) -> &'static str {
    match model.follow {
        true => "FOLLOW",
        false => "F follows the newest",
    }
}

/// A pane whose head is its first row.
fn open(frame: Rect) -> Pane {
    Pane {
        frame,
        bordered: false,
        head: Rect {
            height: frame.height.min(1),
            ..frame
        },
        body: below(frame, frame.height.saturating_sub(1)).1,
    }
}

/// A pane in a border, its head the first row inside.
fn bordered(frame: Rect) -> Pane {
    let inner = inside(frame);
    Pane {
        frame,
        bordered: true,
        head: Rect {
            height: inner.height.min(1),
            ..inner
        },
        body: below(inner, inner.height.saturating_sub(1)).1,
    }
}

/// A pane in a border that carries the head.
fn framed(frame: Rect) -> Pane {
    Pane {
        frame,
        bordered: true,
        head: Rect {
            height: frame.height.min(1),
            ..frame
        },
        body: inside(frame),
    }
}

fn inside(frame: Rect) -> Rect {
    Rect {
        x: frame.x + frame.width.min(1),
        y: frame.y + frame.height.min(1),
        width: frame.width.saturating_sub(2),
        height: frame.height.saturating_sub(2),
    }
}

/// `area` without its last `height` rows, and those.
pub(super) fn below(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    let first = Rect {
        height: area.height - height,
        ..area
    };
    let second = Rect {
        y: area.y + first.height,
        height,
        ..area
    };
    (first, second)
}

fn tabs(model: &Model, pane: &Pane) -> Vec<(Rect, Tab, String)> {
    let current = model.current();
    let narrow = pane.frame.width < 58;
    let mut out = Vec::new();
    let mut x = pane.frame.x + 1;
    for (n, tab) in (1..).zip(Tab::ALL) {
        let name = match (tab, current) {
            (Tab::Request, _) => String::from("Request"),
            (Tab::Response, Some((_, a))) if !matches!(a.outcome, Outcome::Pending) => format!(
                "{} {}",
                if narrow { "Resp" } else { "Response" },
                crate::tui::model::status_cell(&a.outcome)
            ),
            (Tab::Response, _) => String::from("Response"),
            (Tab::Signature, _) => String::from(if narrow { "Sig" } else { "Signature" }),
            (Tab::Attempts, Some((d, _))) => {
                format!(
                    "{} {}",
                    if narrow { "Tries" } else { "Attempts" },
                    d.attempts.len()
                )
            }
            (Tab::Attempts, None) => String::from("Attempts"),
        };
        let label = if tab == model.tab {
            format!("[{n} {name}]")
        } else {
            format!(" {n} {name} ")
        };
        let width = text::width(&label) as u16;
        if x + width > pane.frame.right().saturating_sub(1) {
            break;
        }
        out.push((
            Rect {
                x,
                y: pane.frame.y,
                width,
                height: pane.frame.height.min(1),
            },
            tab,
            label,
        ));
        x += width;
    }
    out
}

/// The row of buttons: those that would do something now.
fn buttons(model: &Model, row: Rect) -> Vec<Button> {
    let failed = model.counts.failed;
    let mut wanted: Vec<(Message, String)> = Vec::new();
    if model.current().is_some() {
        wanted.push((Message::Replay, String::from("Replay")));
    }
    if model.only_failed {
        wanted.push((Message::OnlyFailed, String::from("Show all")));
    } else if failed > 0 {
        wanted.push((Message::OnlyFailed, format!("Failed {failed}")));
    }
    if failed > 0 {
        wanted.push((Message::ReplayFailed, String::from("Replay failed")));
    }
    if model.current().is_some() {
        wanted.push((Message::CopyMenu, String::from("Copy")));
        wanted.push((
            if model.zoom {
                Message::Unzoom
            } else {
                Message::Zoom
            },
            String::from(if model.zoom { "Both panes" } else { "Zoom" }),
        ));
        wanted.push((Message::Filter, String::from("Filter")));
        wanted.push((Message::Help, String::from("Help")));
    } else if model.is_empty() && model.status.url.is_some() {
        wanted.push((Message::CopyPublicUrl, String::from("Copy the URL")));
    }
    line_up(When::Main, wanted, row.x + 1, row)
}

/// Buttons in one row from `x` on, each with its key; those that do not fit are left out.
pub(super) fn line_up(
    when: When,
    wanted: Vec<(Message, String)>,
    mut x: u16,
    row: Rect,
) -> Vec<Button> {
    let mut out = Vec::new();
    for (message, name) in wanted {
        let key = keys::shown(when, message)
            .split(' ')
            .next()
            .unwrap_or_default();
        let label = format!("[ {key} {name} ]");
        let width = text::width(&label) as u16;
        if x.saturating_add(width) > row.right() || row.is_empty() {
            break;
        }
        out.push(Button {
            area: Rect { x, width, ..row },
            label,
            message,
        });
        x += width + 1;
    }
    out
}
