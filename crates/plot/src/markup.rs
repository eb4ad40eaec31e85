//! Writing HTML and SVG.
//!
//! # Invariant
//!
//! Whatever comes from a file goes through [`text`], in elements and in quoted attributes alike.

use std::fmt;

/// Appends formatted text to a `String`.
#[macro_export]
macro_rules! put {
    ($out:expr, $($what:tt)*) => {{
        use std::fmt::Write as _;
        write!($out, $($what)*).expect("a String takes everything")
    }};
}

pub use crate::put;

/// `what`, with all that would mean something to a browser escaped.
pub const fn text(what: &str) -> Text<'_> {
    Text(what)
}

/// Text that writes itself escaped.
#[derive(Clone, Copy, Debug)]
pub struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // No document may contain them.
                '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => f.write_str("\u{fffd}")?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

/// A coordinate, to a tenth of a pixel.
pub fn at(pixels: f64) -> String {
    let text = format!("{:.1}", pixels + 0.0);
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0" } else { text }.to_owned()
}

/// `what`, if it is longer than `letters` cut there.
pub fn cut(what: &str, letters: usize) -> String {
    if what.chars().count() <= letters {
        return what.to_owned();
    }
    let kept: String = what.chars().take(letters.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_files_stays_text() {
        let hostile = "</title><script>alert('1' & \"2\")</script>\u{1b}";
        let safe = text(hostile).to_string();
        let expected = "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)\
                        &lt;/script&gt;\u{fffd}";
        assert_eq!(safe, expected);
        assert_eq!(text("Größe\n").to_string(), "Größe\n");
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(at(12.04), "12");
        assert_eq!(at(12.06), "12.1");
        assert_eq!(at(-0.04), "0");
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größer", 4), "grö…");
    }
}
