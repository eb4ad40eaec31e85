//! Random numbers against the arithmetic, random schedules against the promise; each judged by an
//! oracle that shares no code with what it judges.
//!
//! A failure prints its seed. `LEASEHOLD_SEED=<seed>` runs that one schedule again and tells what
//! happens in it; `LEASEHOLD_SCHEDULES=<n>` runs n times as many.
//!
//! # What these tests can see
//!
//! Each of these bugs was planted, one at a time. "P" marks what the schedules of [`promise`] find
//! in their default number, "P 30" and "P 100" in so many times as many. The others are promises
//! of `tests/ledger.rs` (one of several) and [`arithmetic`]. A bug on the safe side breaks no
//! promise: it denies what could be granted.
//!
//! | bug in the ledger | caught by |
//! |---|---|
//! | drains after the report instead of before | P, `what_is_reported_does_not_drain_for_the_time_before_the_report` |
//! | what is wanted is an amount, so a lost reply grants twice (safe side) | `a_grant_is_repeated_and_not_doubled_when_its_reply_was_lost` |
//! | a grant does not look at what is outstanding | P, `what_is_released_is_free_at_once` |
//! | a claim is not compared with its expiry | P, `a_lease_that_is_over_is_told_so` |
//! | … only where there is no record | P 30, `a_lease_that_is_over_is_not_revived_by_a_late_copy_of_its_first_request` |
//! | the birth is ignored | P, `an_old_state_that_comes_back_counts_as_spent` |
//! | … only for a key of which nothing is known | P |
//! | no hold after a loss | P, `an_emptied_bucket_stays_empty_while_forgotten_leases_may_live_and_fills_at_the_rate_then` |
//! | a store that forgot counts as full | P, the same |
//! | a forgotten lease is moved out of the emptied bucket | P 100, `what_is_released_after_a_loss_is_not_free_before_the_bucket_has_drained` |
//! | what a claim has spent is charged again (safe side) | `leaving_twice_charges_once` |
//! | an old state drains before its leases end (safe side) | P, `leases_of_an_old_state_that_comes_back_end_when_they_end` |
//! | an expiry is charged at now instead of its own time (safe side) | P, `an_ended_lease_is_charged_at_its_own_end_and_not_when_that_is_noticed` |
//! | expiries are charged out of order (safe side) | `leases_end_in_the_order_of_their_ends` |
//! | an expiry is not charged | P, the same |
//! | a report of another generation is accepted | P, `a_lease_of_one_generation_is_not_released_by_another` |
//! | a release leaves outstanding what it was (safe side) | P, `releasing_twice_releases_once` |
//! | a shorter lease shortens the expiry | P, `a_shorter_lease_never_takes_away_time_that_was_promised` |
//! | the share is equal instead of by demand (safe side) | `a_prefetch_gets_no_more_than_its_share_by_demand`, [`arithmetic`] |
//! | the wait is a microsecond too long (safe side) | P, `a_spend_is_denied_until_the_announced_wait_is_over_and_allowed_then` |
//! | the lifetime leaves out the lease | P, `a_lifetime_is_no_longer_than_it_need_be` |
//!
//! | bug in the replica | caught by |
//! |---|---|
//! | spends for twice the lease | P |
//! | joins the tokens of one reply to the deadline of another | P 30, where the store forgets |

mod advance_fleet;
mod advances;
mod arithmetic;
mod enrolled;
mod fleet;
mod habits;
mod network;
mod promise;
mod random;
mod replica;
mod store;
mod virtual_queue;
