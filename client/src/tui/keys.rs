//! Every key, once: what it is called on the screen, where it acts, what it does, its help.
//!
//! The help page, the key bar, the buttons and `update` all read this table.

use super::model::Tab;
use KeyCode as K;
use Message as M;
use When::{Ask, Filter, Help, Main};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a key acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum When {
    /// List and detail.
    Main,
    /// While the filter is typed; other characters go into it.
    Filter,
    /// After `y`.
    Copy,
    /// While a question stands.
    Ask,
    /// On the help page.
    Help,
}

/// What a key, a button or a click asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Up,
    Down,
    PageUp,
    PageDown,
    HalfUp,
    HalfDown,
    Top,
    Bottom,
    Fold,
    Unfold,
    Open,
    Back,
    SwitchPane,
    Tab(Tab),
    NextTab,
    PreviousTab,
    ScrollUp,
    ScrollDown,
    Previous,
    Next,
    Zoom,
    Unzoom,
    Follow,
    Filter,
    OnlyFailed,
    Replay,
    ReplayFailed,
    Exact,
    CopyMenu,
    CopyPublicUrl,
    CopyInspector,
    CopyUrl,
    CopyBody,
    CopyCurl,
    CopyId,
    Mouse,
    Help,
    Quit,
    QuitNow,
    Interrupt,
    /// Yes to the question that stands.
    Confirm,
    /// No to it; also closes a menu or the help page.
    Cancel,
    /// Keep the filter and go back to the list.
    Accept,
    EraseLast,
    EraseAll,
}

/// One key press, without what terminals disagree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chord {
    code: KeyCode,
    control: bool,
}

impl Chord {
    /// What was pressed; `None` with Alt, which means nothing here. Shift is part of the character
    /// already, and Ctrl with Alt is how some terminals report AltGr.
    pub(super) fn of(event: &KeyEvent) -> Option<Chord> {
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        let alt = event.modifiers.contains(KeyModifiers::ALT);
        (control || !alt).then_some(Chord {
            code: event.code,
            control: control && !alt,
        })
    }
}

const fn char(c: char) -> Chord {
    code(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Chord {
    Chord {
        code: KeyCode::Char(c),
        control: true,
    }
}

const fn code(code: KeyCode) -> Chord {
    Chord {
        code,
        control: false,
    }
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// The presses that mean it.
    pub chords: &'static [Chord],
    /// Its name on the screen.
    pub shown: &'static str,
    /// Where it acts.
    pub when: When,
    /// What it does.
    pub message: Message,
    /// Key and word in the key bar, for the few that stand there.
    pub bar: Option<&'static str>,
    /// Its sentence on the help page.
    pub help: &'static str,
}

const fn key(
    chords: &'static [Chord],
    shown: &'static str,
    when: When,
    message: Message,
    help: &'static str,
) -> Key {
    Key {
        chords,
        shown,
        when,
        message,
        bar: None,
        help,
    }
}

impl Key {
    const fn bar(mut self, word: &'static str) -> Key {
        self.bar = Some(word);
        self
    }
}

/// The table, in the order of the help page.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key(&[char('j'), code(K::Down)], "j ↓", Main, M::Down, "next row; scrolls when the detail has the focus").bar("↑↓ move"),
    key(&[char('k'), code(K::Up)], "k ↑", Main, M::Up, "previous row, or scroll up; leaves FOLLOW"),
    key(&[char('l'), code(K::Right)], "l →", Main, M::Unfold, "show the attempts of a delivery as rows").bar("←→ attempts"),
    key(&[char('h'), code(K::Left)], "h ←", Main, M::Fold, "fold them again"),
    key(&[char('g'), code(K::Home)], "g Home", Main, M::Top, "first row, or top of the detail"),
    key(&[char('G'), code(K::End)], "G End", Main, M::Bottom, "newest row, or end of the detail"),
    key(&[code(K::PageDown), ctrl('f')], "PgDn", Main, M::PageDown, "one page down (also Ctrl-f)"),
    key(&[code(K::PageUp), ctrl('b')], "PgUp", Main, M::PageUp, "one page up (also Ctrl-b)"),
    key(&[ctrl('d')], "Ctrl-d", Main, M::HalfDown, "half a page down"),
    key(&[ctrl('u')], "Ctrl-u", Main, M::HalfUp, "half a page up"),
    key(&[code(K::Enter)], "Enter", Main, M::Open, "open: focus the detail, then zoom it").bar("Enter open"),
    key(&[code(K::Esc)], "Esc", Main, M::Back, "back: detail, zoom, filter, failed only"),
    key(&[code(K::Tab), code(K::BackTab)], "Tab", Main, M::SwitchPane, "focus the other pane (also Shift-Tab)").bar("Tab pane"),
    key(&[char('1')], "1", Main, M::Tab(Tab::Request), "the request as it arrived"),
    key(&[char('2')], "2", Main, M::Tab(Tab::Response), "what your app answered"),
    key(&[char('3')], "3", Main, M::Tab(Tab::Signature), "what verification concluded, and why"),
    key(&[char('4')], "4", Main, M::Tab(Tab::Attempts), "every attempt, its time, and the next retry"),
    key(&[char(']')], "]", Main, M::NextTab, "next tab"),
    key(&[char('[')], "[", Main, M::PreviousTab, "previous tab"),
    key(&[char('J')], "J", Main, M::ScrollDown, "scroll the detail down, wherever the focus is"),
    key(&[char('K')], "K", Main, M::ScrollUp, "scroll the detail up, wherever the focus is"),
    key(&[ctrl('n')], "Ctrl-n", Main, M::Next, "next delivery, wherever the focus is"),
    key(&[ctrl('p')], "Ctrl-p", Main, M::Previous, "previous delivery, wherever the focus is"),
    key(&[char('+')], "+", Main, M::Zoom, "give the detail the whole screen"),
    key(&[char('_'), char('-')], "_ -", Main, M::Unzoom, "both panes again"),
    key(&[char('b')], "b", Main, M::Exact, "the body exactly as it came, or laid out to read"),
    key(&[char('/'), char('f')], "/", Main, M::Filter, "filter as you type: every word must be in the row (also f)").bar("/ filter"),
    key(&[char('F')], "F", Main, M::Follow, "FOLLOW: keep the newest delivery selected"),
    key(&[char('!')], "!", Main, M::OnlyFailed, "only the failed deliveries, or all again"),
    key(&[char('r')], "r", Main, M::Replay, "replay: the same bytes to your app, as one more attempt"),
    key(&[char('&')], "&", Main, M::ReplayFailed, "replay every failed delivery that is shown; shows the plan first"),
    key(&[char('y')], "y", Main, M::CopyMenu, "copy something of the selected request"),
    key(&[char('Y')], "Y", Main, M::CopyPublicUrl, "copy the public URL"),
    key(&[char('o')], "o", Main, M::CopyInspector, "copy the web inspector's link, to open in a browser"),
    key(&[ctrl('t')], "Ctrl-t", Main, M::Mouse, "mouse off, so that the terminal selects text; again: on"),
    key(&[char('?')], "?", Main, M::Help, "this page").bar("? help"),
    key(&[char('q')], "q", Main, M::Quit, "back; in the list: quit, after a question").bar("q quit"),
    key(&[char('Q')], "Q", Main, M::QuitNow, "quit at once"),
    key(&[ctrl('c')], "Ctrl-c", Main, M::Interrupt, "twice: quit"),
    key(&[code(K::Enter)], "Enter", Filter, M::Accept, "keep the filter").bar("Enter keep"),
    key(&[code(K::Esc)], "Esc", Filter, M::Cancel, "clear it").bar("Esc clear"),
    key(&[code(K::Backspace), ctrl('h')], "Backspace", Filter, M::EraseLast, "erase the last character"),
    key(&[ctrl('u')], "Ctrl-u", Filter, M::EraseAll, "erase everything"),
    key(&[code(K::Down)], "↓", Filter, M::Down, "next row"),
    key(&[code(K::Up)], "↑", Filter, M::Up, "previous row"),
    key(&[ctrl('c')], "Ctrl-c", Filter, M::Interrupt, "twice: quit"),
    key(&[char('u')], "u", When::Copy, M::CopyUrl, "URL of the request").bar("u URL"),
    key(&[char('b')], "b", When::Copy, M::CopyBody, "body").bar("b body"),
    key(&[char('c')], "c", When::Copy, M::CopyCurl, "as a curl command").bar("c curl"),
    key(&[char('i')], "i", When::Copy, M::CopyId, "id of the delivery").bar("i id"),
    key(&[code(K::Esc), char('q'), char('y')], "Esc", When::Copy, M::Cancel, "copy nothing").bar("Esc back"),
    key(&[ctrl('c')], "Ctrl-c", When::Copy, M::Interrupt, "twice: quit"),
    key(&[char('y'), code(K::Enter)], "y", Ask, M::Confirm, "yes").bar("y yes"),
    key(&[char('n'), code(K::Esc), char('q')], "n", Ask, M::Cancel, "no").bar("n no"),
    key(&[char('j'), code(K::Down)], "j ↓", Ask, M::Down, "more of the plan"),
    key(&[char('k'), code(K::Up)], "k ↑", Ask, M::Up, "back in the plan"),
    key(&[char('Q')], "Q", Ask, M::QuitNow, "quit at once"),
    key(&[ctrl('c')], "Ctrl-c", Ask, M::Interrupt, "twice: quit"),
    key(&[char('j'), code(K::Down)], "j ↓", Help, M::Down, "scroll down").bar("↑↓ scroll"),
    key(&[char('k'), code(K::Up)], "k ↑", Help, M::Up, "scroll up"),
    key(&[code(K::PageDown), ctrl('d'), char(' ')], "PgDn", Help, M::PageDown, "one page down"),
    key(&[code(K::PageUp), ctrl('u')], "PgUp", Help, M::PageUp, "one page up"),
    key(&[char('g'), code(K::Home)], "g", Help, M::Top, "top"),
    key(&[char('G'), code(K::End)], "G", Help, M::Bottom, "end"),
    key(&[code(K::Esc), char('q'), char('?')], "Esc", Help, M::Cancel, "close the page").bar("Esc close"),
    key(&[char('Q')], "Q", Help, M::QuitNow, "quit at once"),
    key(&[ctrl('c')], "Ctrl-c", Help, M::Interrupt, "twice: quit"),
];

/// What `event` means in this place.
pub(super) fn find(when: When, event: &KeyEvent) -> Option<Message> {
    let chord = Chord::of(event)?;
    KEYS.iter()
        .find(|key| key.when == when && key.chords.contains(&chord))
        .map(|key| key.message)
}

/// The key's name on a button that does `message`.
pub(super) fn shown(when: When, message: Message) -> &'static str {
    KEYS.iter()
        .find(|key| key.when == when && key.message == message)
        .map_or("", |key| key.shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_is_explained_and_means_one_thing() {
        let mut taken = HashSet::new();
        for key in KEYS {
            assert!(!key.help.is_empty() && !key.shown.is_empty(), "{key:?}");
            assert!(!key.chords.is_empty(), "{key:?}");
            for chord in key.chords {
                assert!(
                    taken.insert((key.when, *chord)),
                    "twice: {chord:?} in {:?}",
                    key.when
                );
            }
        }
    }

    #[test]
    fn every_place_can_be_left() {
        for when in [Main, Filter, When::Copy, Ask, Help] {
            assert_eq!(
                find(when, &KeyEvent::new(K::Char('c'), KeyModifiers::CONTROL)),
                Some(M::Interrupt)
            );
            let esc = find(when, &KeyEvent::new(K::Esc, KeyModifiers::NONE));
            assert!(matches!(esc, Some(M::Back | M::Cancel)), "{when:?}");
        }
    }

    #[test]
    fn shift_is_part_of_the_character() {
        let event = KeyEvent::new(K::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(find(Main, &event), Some(M::Bottom));
    }
}
