//! Where the store is.
//!
//! # Invariant
//!
//! A URL is refused, or shown as an address that reads as the same address. Neither the settings
//! nor an error ever show a password.

use leasehold_redis::Settings;

/// Reads the input as a URL, and as what may stand around a password in one.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(settings) = text.parse::<Settings>() {
        reads_as_shown(&settings);
    }
    let (before, after) = text.split_once('|').unwrap_or(("redis://user:", &text));
    let Some((scheme, user)) = before.split_once("://") else {
        return;
    };
    if scheme.ends_with("unix") {
        // All before the parameters is a path; among them, this could be the end of a user's name.
        let path = before.split_once('?').map_or(before, |(path, _)| path);
        keeps_the_secret(&format!("{path}?pass={SECRET}&{after}"));
    } else if user.contains(':') {
        // A password stands behind a colon; what stands alone is a user.
        keeps_the_secret(&format!("{before}{SECRET}@{after}"));
    }
}

/// Sockets aside: what is shown of their paths is what they are called.
fn reads_as_shown(settings: &Settings) {
    let shown = settings.to_string();
    if shown.starts_with("redis+unix") {
        return;
    }
    let again = shown.parse::<Settings>().map(|again| again.to_string());
    assert_eq!(again.as_deref(), Ok(shown.as_str()));
}

fn keeps_the_secret(url: &str) {
    let (shown, debug) = match url.parse::<Settings>() {
        Ok(settings) => (settings.to_string(), format!("{settings:?}")),
        Err(error) => (error.to_string(), format!("{error:?}")),
    };
    for told in [shown, debug] {
        assert!(!told.contains(SECRET), "{url} is told as {told}");
    }
}

/// A password that no name or message contains.
const SECRET: &str = "hunter2hunter2";
