//! Bars: a panel for each question, a bar for each answer.
//!
//! The middle half of the rounds is a line across the end of the bar. A bar far beyond the scale is
//! cut, and its figure says how long it would be.

use crate::frame::document;
use crate::markup::{at, put, text};

/// A question, and its answers.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The question, in words.
    pub head: String,
    /// The answers, in order.
    pub bars: Vec<Bar>,
    /// The value at which a bar is cut; infinite if none is.
    pub cut: f64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The name of the measured thing.
    pub name: String,
    /// The class that colours it.
    pub class: &'static str,
    /// The measured value.
    pub value: f64,
    /// The ends of the middle half of the rounds.
    pub half: (f64, f64),
    /// The value, as a reader sees it.
    pub figure: String,
}

/// A complete SVG document: a title, what it was measured on, and the panels, two beside each
/// other.
pub fn bars(title: &str, about: &str, panels: &[Panel]) -> String {
    let mut body = format!(
        "<text class=\"title\" x=\"{MARGIN}\" y=\"28\">{}</text>\
         <text x=\"{MARGIN}\" y=\"48\">{}</text>\n",
        text(title),
        text(about)
    );
    let mut top = HEAD;
    for pair in panels.chunks(2) {
        for (panel, left) in pair.iter().zip([MARGIN, MARGIN + PANEL]) {
            panel.draw(&mut body, left, top);
        }
        top += pair.iter().map(Panel::height).fold(0.0, f64::max);
    }
    document(2.0 * (PANEL + MARGIN), top + MARGIN, title, &body)
}

impl Panel {
    #[expect(clippy::cast_precision_loss, reason = "bars are few")]
    const fn height(&self) -> f64 {
        PANEL_HEAD + self.bars.len() as f64 * LINE + PANEL_GAP
    }

    fn draw(&self, body: &mut String, left: f64, top: f64) {
        let (x, y) = (at(left), at(top + 14.0));
        let head = text(&self.head);
        put!(
            body,
            "<text class=\"head\" x=\"{x}\" y=\"{y}\">{head}</text>\n"
        );
        let ends = self.bars.iter().map(|bar| bar.value.max(bar.half.1));
        let full = ends.fold(f64::MIN_POSITIVE, f64::max).min(self.cut);
        let zero = left + NAMES;
        let length = |value: f64| (value / full).clamp(0.0, 1.0) * BARS;
        let mut y = top + PANEL_HEAD;
        for bar in &self.bars {
            let Bar {
                name,
                class,
                figure,
                ..
            } = bar;
            let (low, high) = (zero + length(bar.half.0), zero + length(bar.half.1));
            let width = length(bar.value).max(1.0);
            let cut = if bar.value > full { "» " } else { "" };
            put!(
                body,
                "<text class=\"name end\" x=\"{}\" y=\"{line}\">{}</text>\
                 <rect class=\"bar {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{BAR}\"/>\
                 <path class=\"half\" d=\"M{} {}H{}\"/>\
                 <text class=\"name\" x=\"{}\" y=\"{line}\">{cut}{}</text>\n",
                at(zero - 6.0),
                text(name),
                at(zero),
                at(y),
                at(width),
                at(low),
                at(y + BAR / 2.0),
                at(high),
                at(high.max(zero + width) + 5.0),
                text(figure),
                line = at(y + 11.5),
            );
            y += LINE;
        }
    }
}

const MARGIN: f64 = 20.0;
const HEAD: f64 = 66.0;
/// A panel: the names, the bars, and room for a figure.
const PANEL: f64 = 530.0;
const NAMES: f64 = 240.0;
const BARS: f64 = 220.0;
const PANEL_HEAD: f64 = 24.0;
const PANEL_GAP: f64 = 18.0;
const LINE: f64 = 19.0;
const BAR: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_beyond_the_scale_is_cut_and_says_so() {
        let bar = |value: f64| Bar {
            name: "they <3".to_owned(),
            class: "c1",
            value,
            half: (value, value),
            figure: value.to_string(),
        };
        let panel = Panel {
            head: "hot".to_owned(),
            bars: vec![bar(10.0), bar(4000.0)],
            cut: 20.0,
        };
        let svg = bars("title", "machine", &[panel]);
        assert!(svg.contains("» 4000"), "{svg}");
        assert!(svg.contains(&format!("width=\"{}\"", at(BARS))), "{svg}");
        assert!(
            svg.contains(&format!("width=\"{}\"", at(BARS / 2.0))),
            "{svg}"
        );
        assert!(svg.contains("they &lt;3"), "{svg}");
    }
}
