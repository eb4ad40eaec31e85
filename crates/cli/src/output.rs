//! Printing, with or without colours: results go to the standard output, notes to the standard
//! error stream.

use std::ffi::OsString;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget};

// How to print. (No doc comment: clap would print it as the program's.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArguments {
    /// Use colours: auto, always or never. `auto` uses them on terminals, unless
    /// `NO_COLOR` is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    color: Color,
    /// Print results and errors only: no progress and no notes.
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl OutputArguments {
    /// Lets all that is printed from now on be so.
    pub(crate) fn apply(self) {
        QUIET.store(self.quiet, Relaxed);
        self.color.apply();
    }
}

impl Color {
    fn apply(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::AlwaysAnsi,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

/// Heeds `--color` among `words` already for what is said of the words themselves.
pub(crate) fn apply_color_of(words: impl Iterator<Item = OsString>) {
    let words: Vec<String> = words.filter_map(|word| word.into_string().ok()).collect();
    let mut said = words
        .windows(2)
        .filter(|pair| pair[0] == "--color")
        .map(|pair| &*pair[1]);
    let joined = words.iter().find_map(|word| word.strip_prefix("--color="));
    let color = joined.or_else(|| said.next());
    if let Some(color) = color.and_then(|color| Color::from_str(color, false).ok()) {
        color.apply();
    }
}

/// Prints a line of results. A reader that stopped reading has seen enough.
pub(crate) fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints a line beside the results, unless only those are asked for.
pub(crate) fn note(text: &str) {
    if !is_quiet() {
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

/// Whether only results and errors are asked for.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Relaxed)
}

/// A bar of progress; none is drawn where standard error is no terminal, or if nobody asks for it.
pub(crate) fn progress_bar(length: Option<u64>) -> ProgressBar {
    let target = if is_quiet() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    ProgressBar::with_draw_target(length, target)
}

/// Whether standard error takes colours.
pub(crate) fn error_stream_has_colors() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// `text` as errors are marked by clap.
pub(crate) fn paint_error(text: &str) -> String {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    format!("{style}{text}{style:#}")
}

/// A table for people with these headings, and no rows yet.
pub(crate) fn table<'a>(heads: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(heads.into_iter().collect::<Vec<_>>());
    table
}

/// A cell with a number.
pub(crate) fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

static QUIET: AtomicBool = AtomicBool::new(false);
