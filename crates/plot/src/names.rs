//! Names beside marks: each stands where it covers neither a mark nor another name.

use crate::axis::LETTER;
use crate::frame::Area;

/// The names that stand in a picture already, and the room that is left for others.
#[derive(Clone, Debug)]
pub struct Names {
    taken: Vec<[f64; 4]>,
    area: Area,
}

impl Names {
    /// An empty picture. Names lie from edge to edge of `area`.
    pub const fn within(area: Area) -> Self {
        let taken = Vec::new();
        Self { taken, area }
    }

    /// Takes the room of a mark in the middle of a place.
    pub fn take_mark(&mut self, x: f64, y: f64) {
        self.taken.push([x - 6.0, y - 6.0, x + 6.0, y + 6.0]);
    }

    /// Finds where a name of so many letters may begin: right of the mark at a place, else above,
    /// left, or below. `None` if there is no room.
    pub fn beside(&mut self, x: f64, y: f64, letters: usize) -> Option<(f64, f64)> {
        self.place(x, y, letters, 0)
    }

    /// Finds where a short value may begin: above the mark at a place, else left, below, or right.
    pub fn above(&mut self, x: f64, y: f64, letters: usize) -> Option<(f64, f64)> {
        self.place(x, y, letters, 1)
    }

    fn place(&mut self, x: f64, y: f64, letters: usize, first: usize) -> Option<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let width = letters as f64 * LETTER * SIZE;
        let middle = x - width / 2.0;
        let (after, before) = (x + 9.0, x - 9.0 - width);
        let mut places = [
            (after, y + 4.5),
            (middle, y - 10.0),
            (before, y + 4.5),
            (middle, y + 20.0),
            (after, y - 8.0),
            (before, y - 8.0),
            (after, y + 18.0),
            (before, y + 18.0),
        ];
        places.rotate_left(first);
        let box_at = |(x, y): (f64, f64)| [x, y - 10.0, x + width, y + 3.0];
        let found = places
            .into_iter()
            .find(|place| self.is_free(box_at(*place)))?;
        self.taken.push(box_at(found));
        Some(found)
    }

    fn is_free(&self, [left, top, right, bottom]: [f64; 4]) -> bool {
        let area = self.area;
        let across = left >= area.left && right <= area.right;
        let inside = across && top >= area.top && bottom <= area.bottom;
        let apart = |other: &[f64; 4]| {
            right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top
        };
        inside && self.taken.iter().all(apart)
    }
}

/// Names are set larger than the labels of an axis, by this factor.
const SIZE: f64 = 1.15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lie_on_each_other_or_outside() {
        let area = Area {
            left: 0.0,
            right: 200.0,
            top: 0.0,
            bottom: 100.0,
        };
        let mut names = Names::within(area);
        names.take_mark(100.0, 50.0);
        let first = names.beside(100.0, 50.0, 6).unwrap();
        let second = names.beside(100.0, 50.0, 6).unwrap();
        assert_ne!(first, second);
        assert_eq!(first, (109.0, 54.5));
        assert_eq!(names.beside(195.0, 12.0, 50), None);
    }
}
