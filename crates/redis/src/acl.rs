//! The permissions that the server's user needs, and the advice in an error when one is missing.
//!
//! # Invariant
//!
//! [`COMMANDS`] has every command that we and our script call; a test runs everything as a user who
//! may call just these.

use crate::codec::Names;

/// Rules, for `ACL SETUSER`, of a user who may do what a store with `prefix` does, and no more.
///
/// ```
/// let rules = leasehold_redis::acl_rules("leasehold");
/// assert!(rules.starts_with("resetchannels ~{leasehold:* -@all +evalsha "));
/// ```
pub fn acl_rules(prefix: &str) -> String {
    let mut pattern = String::new();
    for character in Names::new(prefix).stem().chars() {
        // These characters have a meaning in a pattern.
        if "*?[]\\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    format!("resetchannels ~{pattern}* -@all {COMMANDS}")
}

/// Advice for an error: the rule that allows the command which the server refused with `detail`.
pub(crate) fn mend(code: &str, detail: &str) -> String {
    if code != "NOPERM" {
        return String::new();
    }
    let user = between(detail, "User ", " has ").unwrap_or("USER");
    let rule = match between(detail, "run the '", "'") {
        Some("info") => "+info".to_owned(),
        Some(command) => format!("+{command}"),
        None if detail.contains("key") => "~{PREFIX:*".to_owned(),
        // Redis 7.0 does not say which command of a script was refused.
        None => COMMANDS.to_owned(),
    };
    format!(
        "; allow it with: ACL SETUSER {user} {rule} (docs/OPERATING.md lists all that is needed)"
    )
}

/// Advice for an error: how to write the URL after the server refused the login.
pub(crate) fn login_mend(code: &str, detail: &str) -> &'static str {
    // The first is the text of Redis 6 and later, the second that of earlier versions.
    if detail.contains("without any password") || detail.contains("no password is set") {
        return "the server has no password for its default user: leave `:password@` out of the \
                URL, or name the user that it belongs to: redis://user:password@host";
    }
    if detail.contains("wrong number of arguments") {
        return "servers before Redis 6 know no users: write redis://:password@host";
    }
    if detail.contains("unknown command") {
        return "the command AUTH was disabled or renamed on the server";
    }
    match code {
        "NOAUTH" => {
            "the server wants a password: write redis://:password@host, or \
             redis://user:password@host"
        }
        _ => {
            "user or password are wrong in the URL: redis://user:password@host, anything unusual \
             as %XX"
        }
    }
}

/// Whether a script lacked a permission. The server's code is not `NOPERM` in this case.
pub(crate) fn kept_from(detail: &str) -> bool {
    detail.starts_with("ACL failure in script")
        || detail.starts_with("The user executing the script can't")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The permissions. The script needs those from `get` to `pexpireat`. `select` is for URLs that
/// name a database, `role` for sentinels, `wait` for acknowledgements, and those after it for
/// clusters.
///
/// Sections of `info` other than `server`, `ping` and `cluster|info` may be missing. So may
/// `config|get` and `client|setinfo`, which are not in the list because old servers do not know the
/// latter.
const COMMANDS: &str = "+evalsha +script|load +get +set +time +mget +mset +del +hget \
                        +hmget +hgetall +hset +hdel +pexpireat +info +ping +select +role \
                        +wait +cluster|slots +cluster|info +asking";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        for (detail, rule) in [
            (
                "User app has no permissions to run the 'script|load' command",
                "ACL SETUSER app +script|load ",
            ),
            (
                "this user has no permissions to run the 'role' command",
                "ACL SETUSER USER +role ",
            ),
            (
                "ACL failure in script: User app has no permissions to run the 'time' command \
                 script: f00, on @user_script:1.",
                "ACL SETUSER app +time ",
            ),
            (
                "No permissions to access a key",
                "ACL SETUSER USER ~{PREFIX:*",
            ),
            (
                "The user executing the script can't run this command or subcommand script: f00",
                "ACL SETUSER USER +evalsha ",
            ),
        ] {
            let mend = mend("NOPERM", detail);
            assert!(mend.contains(rule), "{detail}: {mend}");
        }
        assert_eq!(mend("OOM", "User x has no 'y'"), "");
    }

    /// Some commands are called so late in the life of a bucket that no test reaches them.
    #[test]
    fn what_the_script_calls_is_allowed() {
        let calls = crate::codec::EXCHANGE.split("call('").skip(1);
        let names = calls.map(|rest| rest.split('\'').next().unwrap_or_default());
        let mut found = 0;
        for name in names {
            let rule = format!(" +{} ", name.to_lowercase());
            assert!(COMMANDS.contains(&rule), "{name} is called and not allowed");
            found += 1;
        }
        assert!(found >= 3, "the script calls something");
    }

    #[test]
    fn a_prefix_is_matched_to_the_letter() {
        assert!(acl_rules("a*{b").starts_with("resetchannels ~{a\\*%7Bb:* "));
    }
}
