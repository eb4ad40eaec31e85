//! Redirects: the answer of a node that does not serve a key, and when to look for the node that
//! does.

use crate::cluster::view::placed;
use crate::error::LinkError;
use crate::settings::Place;

/// A redirect: the node to ask instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Redirect {
    pub(crate) place: Place,
    /// Whether the redirect is an `ASK`: it holds for this exchange only, which must begin with
    /// `ASKING`. Otherwise the partition has moved for good.
    pub(crate) asking: bool,
}

impl Redirect {
    /// The redirect in `error`, the answer of the node at `asked`; none if it is no redirect.
    pub(crate) fn of(error: &LinkError, asked: &Place) -> Option<Self> {
        let LinkError::Refused { code, detail } = error else {
            return None;
        };
        let asking = match code.as_str() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        // The slot, then the address. An IPv6 address has no brackets.
        let (_, place) = detail.split_once(' ')?;
        let (host, port) = place.trim_end().rsplit_once(':')?;
        let place = placed(host, port.parse().ok()?, asked)?;
        Some(Self { place, asking })
    }
}

/// Whether `error` may mean that another node serves the partition by now.
pub(crate) fn is_doubtful(error: &LinkError) -> bool {
    match error {
        LinkError::Refused { code, .. } => DOUBTFUL.contains(&code.as_str()),
        LinkError::Down { .. }
        | LinkError::TimedOut { .. }
        | LinkError::Dropped { .. }
        | LinkError::Unacknowledged { .. }
        | LinkError::Unserved { .. } => true,
        LinkError::InCluster | LinkError::Garbled { .. } => false,
    }
}

const DOUBTFUL: [&str; 6] = [
    "MOVED",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(code: &str, detail: &str) -> Option<Redirect> {
        let asked = Place {
            host: "asked".to_owned(),
            port: 1,
        };
        let error = LinkError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        };
        Redirect::of(&error, &asked)
    }

    fn to(host: &str, port: u16, asking: bool) -> Redirect {
        let host = host.to_owned();
        let place = Place { host, port };
        Redirect { place, asking }
    }

    #[test]
    fn a_redirect_says_where_to_and_for_how_long() {
        assert_eq!(
            redirect("MOVED", "39 1.2.3.4:7"),
            Some(to("1.2.3.4", 7, false))
        );
        assert_eq!(
            redirect("ASK", "39 node.example:7"),
            Some(to("node.example", 7, true))
        );
        assert_eq!(redirect("MOVED", "39 ::1:7"), Some(to("::1", 7, false)));
        assert_eq!(redirect("MOVED", "39 :7"), Some(to("asked", 7, false)));
    }

    #[test]
    fn what_leads_nowhere_is_no_redirect() {
        assert_eq!(redirect("TRYAGAIN", "39 a:7"), None);
        for detail in ["", "39", "39 a", "39 a:", "39 a:0", "39 a:65536", "39 ?:7"] {
            assert_eq!(redirect("MOVED", detail), None, "{detail}");
        }
    }
}
