//! Pictures of measurements as SVG: axes, lines, marks, bars, and names that do not collide.
//!
//! Colours come from one style sheet, [`STYLE`], which follows the reader's system into light or
//! dark. A limiter has one colour, one mark and one dash wherever it is drawn: see [`Style`].
//!
//! # Invariant
//!
//! A picture is a function of its numbers: no file, clock or environment is read, so equal numbers
//! give equal bytes.

pub mod axis;
pub mod bars;
pub mod frame;
pub mod markup;
mod names;
mod palette;

pub use names::Names;
pub use palette::Style;

/// The style sheet of every picture, with the colours of the page around it.
pub const STYLE: &str = include_str!("style.css");
