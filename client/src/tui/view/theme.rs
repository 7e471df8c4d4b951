//! Styles by meaning. The sixteen colours of the terminal only, so that its own theme decides
//! what they look like; without colour: bold, dim, reverse.

use ratatui::style::{Color, Modifier, Style};

/// Which styles to use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    color: bool,
}

impl Theme {
    pub(super) fn new(color: bool) -> Theme {
        Theme { color }
    }

    fn hue(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    pub(super) fn good(self) -> Style {
        self.hue(Color::Green)
    }

    pub(super) fn bad(self) -> Style {
        self.hue(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warn(self) -> Style {
        self.hue(Color::Yellow)
    }

    /// What the eye should find first.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What matters less.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn link(self) -> Style {
        self.hue(Color::Cyan).add_modifier(Modifier::UNDERLINED)
    }

    pub(super) fn key(self) -> Style {
        self.hue(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn button(self) -> Style {
        self.hue(Color::Cyan)
    }

    pub(super) fn frame(self) -> Style {
        self.quiet()
    }

    pub(super) fn frame_focused(self) -> Style {
        self.hue(Color::Cyan)
    }

    /// The row under the cursor, in the pane with the focus and in the other one.
    pub(super) fn selected(self, focused: bool) -> Style {
        match (focused, self.color) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, true) => Style::new().add_modifier(Modifier::BOLD),
            (false, false) => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        }
    }

    pub(super) fn active_tab(self) -> Style {
        self.hue(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// A field's or a member's name.
    pub(super) fn name(self) -> Style {
        self.hue(Color::Cyan)
    }

    pub(super) fn string(self) -> Style {
        self.hue(Color::Green)
    }

    pub(super) fn number(self) -> Style {
        self.hue(Color::Yellow)
    }

    pub(super) fn word(self) -> Style {
        self.hue(Color::Magenta)
    }

    pub(super) fn by_status(self, status: u16) -> Style {
        match status {
            0..200 => Style::new(),
            200..300 => self.good(),
            300..400 => self.hue(Color::Cyan),
            400..500 => self.warn(),
            _ => self.bad(),
        }
    }
}
