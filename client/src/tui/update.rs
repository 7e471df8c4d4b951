//! What happens next: `(model, input) → model, effects`. No I/O, no clock.
//!
//! [`update`] takes one input at a time and does little. What a frame needs beyond that (rows
//! filtered, the open tab laid out, exact bytes asked for) is made by [`settle`], once a frame, so
//! a burst of a thousand changes costs one filtering and one load.

use super::keys::{self, Message, When};
use super::model::{
    self, Batch, Focus, Model, Mood, Overlay, PageKey, Tab, attempt_of, status_cell,
};
use super::view::layout::{Areas, Hit, when};
use super::view::{self, overlay};
use super::{Effect, Input};
use crate::text;
use capture::{Id, Outcome};
use crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Size};
use std::time::Duration;

/// Two clicks closer than this are one double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);
/// Rows that one notch of the wheel moves.
const WHEEL: usize = 3;
/// Longest filter and largest paste into it, in characters.
const FILTER: usize = 200;
/// Most bytes that are copied. Terminals drop an OSC 52 sequence beyond about 100 kB of base64.
const COPY: usize = 74_000;

/// Takes one input.
pub(super) fn update(model: &mut Model, input: Input) -> Vec<Effect> {
    match input {
        Input::Tick(now) => {
            model.now = now;
            let over = |until| until <= now.steady;
            if model.toast.as_ref().is_some_and(|toast| over(toast.until)) {
                model.toast = None;
                model.dirty = true;
            }
            if model.interrupt.is_some_and(over) {
                model.interrupt = None;
            }
            return Vec::new();
        }
        Input::Mouse(MouseEvent {
            kind: MouseEventKind::Moved | MouseEventKind::Up(_),
            ..
        }) => {
            return Vec::new();
        }
        _ => model.dirty = true,
    }
    match input {
        Input::Key(event) if event.kind != KeyEventKind::Release => key(model, event),
        Input::Mouse(event) => mouse(model, event),
        Input::Resize(width, height) => {
            model.size = Size { width, height };
            Vec::new()
        }
        Input::Paste(pasted) => {
            if model.typing {
                pasted.chars().for_each(|c| type_into(model, c));
            }
            Vec::new()
        }
        Input::Changed(delivery) => {
            let id = delivery.id;
            model.put(delivery);
            report_replay(model, id);
            Vec::new()
        }
        Input::Loaded {
            delivery,
            n,
            result,
        } => {
            model.end_load((delivery, n), result);
            Vec::new()
        }
        Input::Replayed { delivery, result } => {
            match result {
                Ok(n) => {
                    if let Some(waits) = model.replaying.get_mut(&delivery) {
                        *waits = Some(n);
                    }
                    report_replay(model, delivery);
                }
                Err(why) => {
                    model.replaying.remove(&delivery);
                    model.batch.done += 1;
                    model.say(Mood::Bad, format!("replay of {}: {why}", delivery.short()));
                }
            }
            Vec::new()
        }
        Input::Notice(notice) => {
            model.say(Mood::Plain, notice);
            Vec::new()
        }
        Input::Stop => vec![Effect::Quit],
        Input::Removed(id) => {
            model.remove(id);
            Vec::new()
        }
        Input::Reset(deliveries) => {
            model.reset(deliveries);
            let waiting: Vec<Id> = model.replaying.keys().copied().collect();
            waiting.into_iter().for_each(|id| report_replay(model, id));
            Vec::new()
        }
        Input::Status(status) => {
            model.status = status;
            Vec::new()
        }
        Input::Key(_) | Input::Tick(_) => Vec::new(),
    }
}

/// Makes the model ready for a frame; returns what has to be loaded for it.
pub(super) fn settle(model: &mut Model) -> Vec<Effect> {
    model.refresh_rows();
    let areas = view::areas(model);
    if let Some(pane) = &areas.list {
        let height = usize::from(pane.body.height).max(1);
        // The cursor stays on the screen, with the attempts below it as far as they fit, and no
        // row is left empty while there are more.
        let attempts = model.rows[model.cursor.min(model.rows.len())..]
            .iter()
            .skip(1)
            .take_while(|row| row.attempt.is_some())
            .count();
        let last = model.cursor + attempts.min(height - 1);
        let first = (last + 1).saturating_sub(height);
        let full = model.rows.len().saturating_sub(height);
        model.top = model.top.clamp(first, model.cursor).min(full.max(first));
    }
    let current = model.current().map(|(d, a)| (d.id, a.n));
    let mut effects = Vec::new();
    if let Some(key) = current {
        let slot = model.details.get(&key);
        if slot.is_none_or(|slot| slot.stale && !slot.loading) {
            model.begin_load(key);
            effects.push(Effect::Load {
                delivery: key.0,
                n: key.1,
            });
        }
    }
    if let Some(pane) = &areas.detail {
        lay_out(model, current, pane.body.width, pane.body.height);
        let most = model
            .page
            .lines
            .len()
            .saturating_sub(usize::from(pane.body.height));
        model.scroll = model.scroll.min(most);
    }
    effects
}

/// Lays the open tab out, unless it is exact bytes that were laid out the same way before.
fn lay_out(model: &mut Model, current: Option<(Id, u32)>, width: u16, height: u16) {
    // Below this height headers would push the body off the pane.
    let short = height < 16;
    let key = current.and_then(|(id, n)| {
        let slot = model.details.get(&(id, n))?;
        slot.result.as_ref()?;
        let exact_bytes = matches!(model.tab, Tab::Request)
            || model.tab == Tab::Response
                && model
                    .current()
                    .is_some_and(|(_, a)| a.outcome != Outcome::Pending);
        exact_bytes.then_some(PageKey {
            id,
            n,
            tab: model.tab,
            exact: model.exact,
            width,
            short,
            version: slot.version,
        })
    });
    if key.is_none() || key != model.page.key {
        model.page.lines = view::page(model, width, short);
        model.page.key = key;
    }
}

fn key(model: &mut Model, event: KeyEvent) -> Vec<Effect> {
    let when = when(model);
    if let Some(message) = keys::find(when, &event) {
        return act(model, message);
    }
    let plain = !event
        .modifiers
        .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    if when == When::Filter
        && plain
        && let KeyCode::Char(c) = event.code
    {
        type_into(model, c);
    }
    Vec::new()
}

fn type_into(model: &mut Model, c: char) {
    if !c.is_control() && model.filter.chars().count() < FILTER {
        model.filter.push(c);
        model.rows_stale = true;
    }
}

fn mouse(model: &mut Model, event: MouseEvent) -> Vec<Effect> {
    let at = Position::new(event.column, event.row);
    model.refresh_rows();
    let areas = view::areas(model);
    let hit = areas.hit(at, model);
    match event.kind {
        MouseEventKind::ScrollDown => wheel(model, hit, Message::Down),
        MouseEventKind::ScrollUp => wheel(model, hit, Message::Up),
        MouseEventKind::Down(MouseButton::Left) => {
            let double = model.last_click.is_some_and(|(before, when)| {
                before == at && model.now.steady.saturating_duration_since(when) < DOUBLE_CLICK
            });
            model.last_click = (!double).then_some((at, model.now.steady));
            return click(model, hit, double);
        }
        _ => {}
    }
    Vec::new()
}

fn wheel(model: &mut Model, hit: Hit, direction: Message) {
    let up = direction == Message::Up;
    match hit {
        Hit::Row(_) | Hit::List => step_rows(model, WHEEL, up),
        Hit::Detail => scroll(model, WHEEL, up),
        Hit::Message(Message::Tab(_)) => scroll(model, WHEEL, up),
        Hit::Overlay => scroll_overlay(model, WHEEL, up),
        Hit::Message(_) | Hit::Nothing => {}
    }
}

fn click(model: &mut Model, hit: Hit, double: bool) -> Vec<Effect> {
    match hit {
        Hit::Message(message) => {
            if let Message::Tab(_) = message {
                model.focus = Focus::Detail;
            }
            return act(model, message);
        }
        Hit::Row(row) => {
            model.focus = Focus::List;
            choose(model, row);
            if double {
                model.focus = Focus::Detail;
                model.zoom = true;
            }
        }
        Hit::List => model.focus = Focus::List,
        Hit::Detail => {
            model.focus = Focus::Detail;
            if double {
                model.zoom = !model.zoom;
            }
        }
        Hit::Overlay | Hit::Nothing => {}
    }
    Vec::new()
}

/// Does what a key, a button or a click asks for.
fn act(model: &mut Model, message: Message) -> Vec<Effect> {
    model.refresh_rows();
    if message != Message::Interrupt {
        model.interrupt = None;
    }
    match message {
        Message::Up => step(model, 1, true),
        Message::Down => step(model, 1, false),
        Message::PageUp => step(model, page_height(model), true),
        Message::PageDown => step(model, page_height(model), false),
        Message::HalfUp => step(model, page_height(model) / 2, true),
        Message::HalfDown => step(model, page_height(model) / 2, false),
        Message::Top => step(model, usize::MAX, true),
        Message::Bottom => step(model, usize::MAX, false),
        Message::Unfold => unfold(model),
        Message::Fold => fold(model),
        Message::Open => match (model.focus, model.current().is_some()) {
            (Focus::List, true) => model.focus = Focus::Detail,
            (Focus::Detail, _) => model.zoom = true,
            (Focus::List, false) => {}
        },
        Message::Back => back(model),
        Message::SwitchPane => {
            model.focus = match model.focus {
                Focus::List => Focus::Detail,
                Focus::Detail => Focus::List,
            }
        }
        Message::Tab(tab) => open_tab(model, tab),
        Message::NextTab => open_tab(model, model.tab.step(1)),
        Message::PreviousTab => open_tab(model, model.tab.step(Tab::ALL.len() - 1)),
        Message::ScrollDown => scroll(model, WHEEL, false),
        Message::ScrollUp => scroll(model, WHEEL, true),
        Message::Next => step_rows(model, 1, false),
        Message::Previous => step_rows(model, 1, true),
        Message::Zoom => {
            model.focus = Focus::Detail;
            model.zoom = true;
        }
        Message::Unzoom => model.zoom = false,
        Message::Follow => {
            model.follow = !model.follow;
            model.rows_stale = true;
        }
        Message::Filter => {
            model.typing = true;
            model.toast = None;
            if model.zoom {
                model.zoom = false;
            }
            model.focus = Focus::List;
        }
        Message::OnlyFailed => {
            model.only_failed = !model.only_failed;
            model.rows_stale = true;
        }
        Message::Exact => {
            model.exact = !model.exact;
            model.scroll = 0;
        }
        Message::Replay => {
            let id = model.current().map(|(d, _)| d.id);
            return id.map_or(Vec::new(), |id| replay(model, vec![id]));
        }
        Message::ReplayFailed => {
            let ids = model.shown_failed();
            if ids.is_empty() {
                model.say(Mood::Plain, "nothing that is shown has failed");
            } else {
                model.overlay = Some(Overlay::Plan { ids, scroll: 0 });
            }
        }
        Message::CopyMenu if model.current().is_some() => model.overlay = Some(Overlay::Copy),
        Message::CopyMenu => {}
        Message::CopyInspector => {
            return match model.status.inspector.clone() {
                Some(link) => {
                    let said = format!("copied: {link}");
                    model.say(Mood::Good, &said);
                    vec![Effect::Copy(link)]
                }
                None => say(model, "the web inspector is off (--inspect off)"),
            };
        }
        Message::CopyPublicUrl => {
            let url = model.status.url.clone();
            return match url {
                Some(url) => copied(model, "the public URL", url),
                None => say(model, "there is no public URL yet"),
            };
        }
        Message::CopyUrl | Message::CopyBody | Message::CopyCurl | Message::CopyId => {
            model.overlay = None;
            return copy_of_request(model, message);
        }
        Message::Mouse => {
            model.mouse = !model.mouse;
            model.say(
                Mood::Plain,
                match model.mouse {
                    true => "mouse on: click, wheel, double click",
                    false => "mouse off: the terminal selects text; Ctrl-t turns it on again",
                },
            );
            return vec![Effect::Mouse(model.mouse)];
        }
        Message::Help => model.overlay = Some(Overlay::Help { scroll: 0 }),
        Message::Quit => match (model.focus, model.zoom) {
            (Focus::List, false) => model.overlay = Some(Overlay::Quit),
            _ => back(model),
        },
        Message::QuitNow => return vec![Effect::Quit],
        Message::Interrupt => {
            if model.interrupt.is_some() {
                return vec![Effect::Quit];
            }
            model.interrupt = Some(model.now.steady + model::TOAST);
            model.overlay = None;
            model.typing = false;
            model.say(
                Mood::Plain,
                "Ctrl-c again quits; the URL stops working then",
            );
        }
        Message::Confirm => match model.overlay.take() {
            Some(Overlay::Quit) => return vec![Effect::Quit],
            Some(Overlay::Plan { ids, .. }) => return replay(model, ids),
            Some(Overlay::Help { .. } | Overlay::Copy) | None => {}
        },
        Message::Cancel if model.overlay.is_some() => model.overlay = None,
        Message::Cancel => {
            model.typing = false;
            model.filter.clear();
            model.rows_stale = true;
        }
        Message::Accept => model.typing = false,
        Message::EraseLast => {
            model.filter.pop();
            model.rows_stale = true;
        }
        Message::EraseAll => {
            model.filter.clear();
            model.rows_stale = true;
        }
    }
    Vec::new()
}

/// One thing back: zoom, detail, filter, failed only.
fn back(model: &mut Model) {
    if model.zoom {
        model.zoom = false;
    } else if model.focus == Focus::Detail {
        model.focus = Focus::List;
    } else if !model.filter.is_empty() {
        model.filter.clear();
        model.rows_stale = true;
    } else if model.only_failed {
        model.only_failed = false;
        model.rows_stale = true;
    }
}

fn open_tab(model: &mut Model, tab: Tab) {
    if model.tab != tab {
        model.tab = tab;
        model.scroll = 0;
    }
}

/// Moves by `n` in whatever has the keys.
fn step(model: &mut Model, n: usize, up: bool) {
    if model.overlay.is_some() {
        scroll_overlay(model, n, up);
    } else if model.focus == Focus::Detail {
        scroll(model, n, up);
    } else {
        step_rows(model, n, up);
    }
}

fn step_rows(model: &mut Model, n: usize, up: bool) {
    model.refresh_rows();
    let to = if up {
        model.cursor.saturating_sub(n)
    } else {
        model.cursor.saturating_add(n)
    };
    choose(model, to);
}

/// Selects by hand; anything but the newest delivery ends FOLLOW.
fn choose(model: &mut Model, row: usize) {
    model.select_at(row);
    let newest = model.rows.iter().rev().find(|row| row.attempt.is_none());
    if model.selected.map(|(id, _)| id) != newest.map(|row| row.id) {
        model.follow = false;
    }
}

fn scroll(model: &mut Model, n: usize, up: bool) {
    // `settle` keeps it within the page.
    model.scroll = match up {
        true => model.scroll.saturating_sub(n),
        false => model.scroll.saturating_add(n).min(model.page.lines.len()),
    };
}

fn scroll_overlay(model: &mut Model, n: usize, up: bool) {
    let body = view::areas(model)
        .overlay
        .map_or(0, |over| usize::from(over.body.height));
    let most = overlay::height(model).saturating_sub(body);
    if let Some(Overlay::Help { scroll } | Overlay::Plan { scroll, .. }) = &mut model.overlay {
        *scroll = match up {
            true => (*scroll).min(most).saturating_sub(n),
            false => scroll.saturating_add(n).min(most),
        };
    }
}

fn page_height(model: &Model) -> usize {
    let Areas {
        list,
        detail,
        overlay,
        ..
    } = view::areas(model);
    let body = match (overlay, model.focus) {
        (Some(over), _) => over.body,
        (None, Focus::List) => list.map_or_else(Default::default, |pane| pane.body),
        (None, Focus::Detail) => detail.map_or_else(Default::default, |pane| pane.body),
    };
    usize::from(body.height).max(2)
}

fn unfold(model: &mut Model) {
    if let Some((delivery, _)) = model.current() {
        let id = delivery.id;
        if delivery.attempts.len() > 1 && model.unfolded.insert(id) {
            model.rows_stale = true;
        }
    }
}

fn fold(model: &mut Model) {
    if let Some((id, _)) = model.selected
        && model.unfolded.remove(&id)
    {
        model.rows_stale = true;
        model.select(id, None);
    }
}

/// Asks for replays, except of what is being replayed already.
fn replay(model: &mut Model, mut ids: Vec<Id>) -> Vec<Effect> {
    ids.retain(|id| !model.replaying.contains_key(id));
    if ids.is_empty() {
        return say(model, "it is being replayed already");
    }
    if model.replaying.is_empty() {
        model.batch = Batch::default();
    }
    model.batch.total += ids.len();
    model.replaying.extend(ids.iter().map(|id| (*id, None)));
    let what = match ids.as_slice() {
        [one] => one.short().to_owned(),
        many => text::count(many.len(), "delivery", "deliveries"),
    };
    model.say(
        Mood::Plain,
        format!("replaying {what} to {} …", model.status.origin),
    );
    vec![Effect::Replay(ids)]
}

/// Says how a replay of `id` ended, once it has.
fn report_replay(model: &mut Model, id: Id) {
    let Some(Some(n)) = model.replaying.get(&id).copied() else {
        return;
    };
    let Some(attempt) = model.delivery(id).and_then(|d| attempt_of(d, n)).cloned() else {
        return;
    };
    if attempt.outcome == Outcome::Pending {
        return;
    }
    model.replaying.remove(&id);
    model.batch.done += 1;
    let good = !attempt.outcome.is_failure();
    model.batch.good += usize::from(good);
    let Batch {
        total,
        done,
        good: accepted,
    } = model.batch;
    if total > 1 {
        let text = match done < total {
            true => format!("replayed {done} of {total} …"),
            false if accepted == total => format!("replayed {total}: all accepted"),
            false => format!(
                "replayed {total}: {accepted} accepted, {} failed",
                total - accepted
            ),
        };
        let mood = match (done < total, accepted == done) {
            (true, _) => Mood::Plain,
            (false, true) => Mood::Good,
            (false, false) => Mood::Bad,
        };
        return model.say(mood, text);
    }
    let mut text = format!("replayed {}: {}", id.short(), status_cell(&attempt.outcome));
    match (&attempt.outcome, attempt.duration()) {
        (Outcome::Failed { why, .. }, _) => text.push_str(&format!(" {why}")),
        (_, Some(took)) => text.push_str(&format!(" in {}", text::duration(took))),
        _ => {}
    }
    model.say(if good { Mood::Good } else { Mood::Bad }, text);
}

fn copy_of_request(model: &mut Model, what: Message) -> Vec<Effect> {
    let Some((delivery, _)) = model.current() else {
        return Vec::new();
    };
    if what == Message::CopyId {
        let id = delivery.id.to_string();
        return copied(model, "the id", id);
    }
    let Some(detail) = model.detail().cloned() else {
        return say(model, "still reading it; try again in a moment");
    };
    let request = &detail.request;
    match what {
        Message::CopyUrl => copied(model, "the URL", request.url()),
        Message::CopyCurl => {
            let fields = request.fields.iter().map(|(n, v)| (&n[..], &v[..]));
            let method = request.method.as_bytes();
            let text = crate::curl::command(
                method,
                &request.url(),
                fields,
                &request.body.bytes,
                model.tips.ca.as_deref(),
            );
            copied(model, "the curl command", text)
        }
        _ => match std::str::from_utf8(&request.body.bytes) {
            Ok(body) if request.body.is_exact() => copied(model, "the body", body.to_owned()),
            Ok(body) => copied(model, "the part of the body that was kept", body.to_owned()),
            Err(_) => say(
                model,
                "the body is not text; client show ID --body writes its bytes",
            ),
        },
    }
}

fn copied(model: &mut Model, what: &str, text: String) -> Vec<Effect> {
    if text.len() > COPY {
        let size = text::bytes(text.len() as u64);
        return say(
            model,
            &format!("{what} is too long for a terminal to copy: {size}"),
        );
    }
    model.say(
        Mood::Good,
        format!("copied {what} ({})", text::bytes(text.len() as u64)),
    );
    vec![Effect::Copy(text)]
}

fn say(model: &mut Model, sentence: &str) -> Vec<Effect> {
    model.say(Mood::Plain, sentence);
    Vec::new()
}
