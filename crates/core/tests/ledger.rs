//! Conversations with a ledger: what it promises, one promise each.
//!
//! Nearly all are about ten tokens that come back at one per second, so that what is charged can be
//! counted on one's fingers. The random schedules that look for what nobody thought of are in
//! `properties`.

use leasehold_core::{
    Birth, Demand, LeaseRequest, Ledger, Limit, Meter, Micros, RecordId, Reply, Request, Status,
    StoreTime, Wait,
};

#[test]
fn a_grant_is_repeated_and_not_doubled_when_its_reply_was_lost() {
    let mut store = Store::new();
    let wants_four = wants(A, 4);
    let lost = store.lease(wants_four, at(0));
    let heard = store.lease(wants_four, at(1));
    assert_eq!((lost.granted, heard.granted), (4, 4));
    assert_eq!(heard.outstanding, 4);
}

#[test]
fn a_repeated_report_is_charged_once() {
    let mut store = Store::new();
    store.lease(wants(A, 4), at(0));
    let report = LeaseRequest {
        granted: 4,
        spent: 3,
        ..wants(A, 1)
    };
    let first = store.lease(report, at(1));
    let again = store.lease(report, at(1));
    assert_eq!(first, again);
    assert_eq!((again.outstanding, store.charged()), (1, 3));
}

#[test]
fn a_stale_copy_takes_back_neither_what_was_spent_nor_what_was_released() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    let stale = LeaseRequest {
        granted: 6,
        spent: 1,
        ..wants(A, 0)
    };
    let newest = LeaseRequest {
        granted: 6,
        spent: 2,
        released: 3,
        ..wants(A, 0)
    };
    store.lease(newest, at(1));
    let reply = store.lease(stale, at(1));
    assert_eq!((reply.granted, reply.outstanding), (6, 1));
    assert_eq!(store.charged(), 2);
}

#[test]
fn a_report_moves_tokens_from_outstanding_to_charged() {
    let mut store = Store::new();
    store.lease(wants(A, 7), at(0));
    let report = LeaseRequest {
        granted: 7,
        spent: 5,
        ..wants(A, 0)
    };
    let reply = store.lease(report, at(0));
    assert_eq!(reply.outstanding, 2);
    assert_eq!(store.charged(), 5);
}

#[test]
fn what_is_reported_does_not_drain_for_the_time_before_the_report() {
    let mut store = Store::new();
    store.lease(wants(A, 5), at(0));
    let report = LeaseRequest {
        granted: 5,
        spent: 5,
        lease: seconds(1),
        ..wants(A, 0)
    };
    store.lease(report, at(1));
    assert_eq!(store.charged(), 5, "not 4: it may have been spent just now");
}

#[test]
fn an_ended_lease_is_charged_at_its_own_end_and_not_when_that_is_noticed() {
    let mut store = Store::new();
    store.lease(wants(A, 8), at(0));
    let reply = store.look(at(LEASE + 3));
    assert_eq!(reply.outstanding, 0);
    assert_eq!(store.charged(), 5, "8 charged three seconds ago");
}

#[test]
fn leases_end_in_the_order_of_their_ends() {
    let mut store = Store::new();
    // B was first to come and is last to end; and is first by its id, too.
    let long = LeaseRequest {
        lease: seconds(6),
        ..wants(A, 4)
    };
    let short = LeaseRequest {
        lease: seconds(1),
        ..wants(B, 2)
    };
    store.lease(long, at(0));
    store.lease(short, at(0));
    store.look(at(7));
    // 2 at 1 s are gone by 6 s; then 4, less one second. In the other order nothing could drain
    // before 6 s: 6 less one second.
    assert_eq!(store.charged(), 3);
}

#[test]
fn what_is_released_is_free_at_once() {
    let mut store = Store::new();
    store.lease(wants(A, 10), at(0));
    assert_eq!(store.lease(needs(B, 4), at(0)).granted, 0);
    let release = LeaseRequest {
        granted: 10,
        released: 4,
        ..wants(A, 0)
    };
    store.lease(release, at(0));
    assert_eq!(store.lease(needs(B, 4), at(0)).granted, 4);
    assert_eq!(store.charged(), 0);
}

#[test]
fn releasing_twice_releases_once() {
    let mut store = Store::new();
    store.lease(wants(A, 10), at(0));
    let release = LeaseRequest {
        granted: 10,
        released: 4,
        ..wants(A, 0)
    };
    store.lease(release, at(0));
    assert_eq!(store.lease(release, at(0)).outstanding, 6);
}

#[test]
fn a_lease_of_one_generation_is_not_released_by_another() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    let stale = LeaseRequest {
        granted: 5,
        released: 5,
        expiry: at(-1),
        ..wants(next_generation(A), 0)
    };
    let reply = store.lease(stale, at(0));
    assert_eq!((reply.status, reply.outstanding), (Status::Over, 6));
}

#[test]
fn no_more_is_released_or_spent_than_was_granted() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    let nonsense = LeaseRequest {
        granted: 6,
        spent: 50,
        released: 70,
        ..wants(A, 0)
    };
    let reply = store.lease(nonsense, at(0));
    assert_eq!((reply.status, reply.outstanding), (Status::Left, 0));
    assert_eq!(store.charged(), 6);
}

#[test]
fn a_shorter_lease_never_takes_away_time_that_was_promised() {
    let mut store = Store::new();
    let long = store.lease(wants(A, 4), at(0));
    let shorter = LeaseRequest {
        granted: 4,
        lease: Micros(1),
        ..wants(A, 4)
    };
    assert_eq!(store.lease(shorter, at(1)).expiry, long.expiry);
    assert_eq!(store.look(at(LEASE - 1)).outstanding, 4);
}

#[test]
fn a_renewal_runs_from_when_the_store_hears_of_it() {
    let mut store = Store::new();
    store.lease(wants(A, 4), at(0));
    let renewal = LeaseRequest {
        granted: 4,
        ..wants(A, 4)
    };
    assert_eq!(store.lease(renewal, at(1)).expiry, at(1 + LEASE));
    assert_eq!(store.look(at(LEASE)).outstanding, 4);
    assert_eq!(store.look(at(LEASE + 1)).outstanding, 0);
}

#[test]
fn a_prefetch_gets_no_more_than_its_share_by_demand() {
    let mut store = Store::new();
    let busy = LeaseRequest {
        demand: Demand(300),
        ..wants(A, 10)
    };
    let quiet = LeaseRequest {
        demand: Demand(100),
        ..wants(B, 10)
    };
    store.lease(LeaseRequest { wanted: 1, ..busy }, at(0));
    let reply = store.lease(quiet, at(0));
    assert_eq!(reply.granted, 2, "10 * 100 / 400, rounded down");
    assert_eq!(reply.wait, Wait::None, "there is more, but not for it");
    assert_eq!(store.lease(busy, at(0)).granted, 7, "10 * 300 / 400");
}

#[test]
fn a_need_is_met_beyond_the_share() {
    let mut store = Store::new();
    store.lease(wants(A, 1), at(0));
    let need = LeaseRequest {
        wanted: 9,
        needed: 8,
        demand: Demand(1),
        ..wants(B, 9)
    };
    assert_eq!(store.lease(need, at(0)).granted, 8);
}

#[test]
fn a_spend_is_denied_until_the_announced_wait_is_over_and_allowed_then() {
    let mut store = Store::with("7/3s burst 10");
    store.spend(9, at(0));
    let denied = store.spend(6, at(0));
    let Wait::For(wait) = denied.wait else {
        panic!("draining alone makes room: {denied:?}");
    };
    assert_eq!(
        wait,
        Micros(2_142_858),
        "5 tokens at 7 in 3 seconds, rounded up"
    );
    let due = at(0) + wait;
    let early = StoreTime::from_micros(due.as_micros() - 1);
    assert_eq!(store.clone().spend(6, early).status, Status::Denied);
    assert_eq!(store.spend(6, due).status, Status::Spent);
}

#[test]
fn a_lease_that_fell_short_grows_by_a_token_when_the_announced_wait_is_over() {
    let mut store = Store::new();
    store.spend(8, at(0));
    let short = store.lease(needs(A, 5), at(0));
    assert_eq!((short.granted, short.wait), (2, Wait::For(seconds(1))));
    let again = LeaseRequest {
        granted: 2,
        ..needs(A, 5)
    };
    let early = StoreTime::from_micros(at(1).as_micros() - 1);
    assert_eq!(store.clone().lease(again, early).granted, 2);
    assert_eq!(store.lease(again, at(1)).granted, 3);
}

#[test]
fn what_others_hold_comes_back_by_no_time() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    assert_eq!(store.spend(5, at(0)).wait, Wait::Held);
    assert_eq!(store.spend(4, at(0)).status, Status::Spent);
    assert_eq!(store.spend(4, at(0)).wait, Wait::For(seconds(4)));
}

#[test]
fn what_exceeds_the_capacity_never_fits() {
    let mut store = Store::new();
    assert_eq!(store.spend(11, at(0)).wait, Wait::Held);
    assert_eq!(store.spend(u64::MAX, at(0)).wait, Wait::Held);
}

#[test]
fn a_spend_is_charged_as_a_whole_or_not_at_all() {
    let mut store = Store::new();
    assert_eq!(store.spend(7, at(0)).status, Status::Spent);
    assert_eq!(store.spend(4, at(0)).status, Status::Denied);
    assert_eq!(store.charged(), 7);
    assert_eq!(store.spend(3, at(0)).status, Status::Spent);
}

#[test]
fn a_spend_of_nothing_only_looks() {
    let mut store = Store::new();
    store.lease(wants(A, 10), at(0));
    let before = store.clone();
    let reply = store.spend(0, at(0));
    assert_eq!((reply.status, reply.wait), (Status::Spent, Wait::None));
    assert_eq!(store, before);
}

#[test]
fn what_was_admitted_without_leave_is_charged_whether_it_fits_or_not() {
    let mut store = Store::new();
    store.spend(4, at(0));
    let charge = |tokens| Request::Charge { tokens };
    assert_eq!(store.ask(&charge(3), at(0)).status, Status::Charged);
    assert_eq!(store.charged(), 7);
    store.ask(&charge(90), at(0));
    assert_eq!(store.charged(), 10, "what exceeds the capacity is forgiven");
    assert_eq!(store.spend(1, at(1)).status, Status::Spent);
}

#[test]
fn a_reset_forgives_what_is_charged_and_takes_no_lease_away() {
    let mut store = Store::new();
    let leased = store.lease(needs(A, 3), at(0));
    store.spend(7, at(0));
    assert_eq!(store.spend(1, at(0)).status, Status::Denied);
    let reply = store.ask(&Request::Forgive, at(0));
    assert!(reply.answers(&Request::Forgive), "{reply:?}");
    assert_eq!((reply.status, reply.outstanding), (Status::Forgiven, 3));
    assert_eq!(store.charged(), 0);
    // Of the capacity of ten, three are on lease: no more than ten in all are to be had.
    assert_eq!(store.spend(8, at(0)).status, Status::Denied);
    assert_eq!(store.spend(7, at(0)).status, Status::Spent);
    let kept = store.lease(claim(leased, 3, 0), at(0));
    assert_eq!((kept.status, kept.granted), (Status::Left, 3));
    assert_eq!(store.charged(), 10, "what is spent of the lease counts");
}

#[test]
fn a_reset_by_another_limit_changes_nothing_for_those_who_know_the_limit() {
    for other in ["1/s", "1/day burst 1", "7/3s burst 1000000"] {
        let mut store = Store::new();
        store.lease(needs(A, 3), at(0));
        store.spend(7, at(0));
        let limit = std::mem::replace(&mut store.limit, other.parse().unwrap());
        store.ask(&Request::Forgive, at(0));
        store.limit = limit;
        assert_eq!(store.spend(8, at(0)).status, Status::Denied, "{other}");
        assert_eq!(store.spend(7, at(0)).status, Status::Spent, "{other}");
        store.ask(&Request::Charge { tokens: 90 }, at(0));
        assert_eq!(
            store.charged(),
            10,
            "the ceiling is the capacity again: {other}"
        );
    }
}

#[test]
fn no_key_is_reset_while_forgotten_leases_may_live() {
    let mut store = Store::new();
    store.spend(7, at(0));
    store.birth.emptied = at(5);
    let reply = store.ask(&Request::Forgive, at(1));
    assert!(reply.answers(&Request::Forgive), "{reply:?}");
    let wait = Wait::For(Micros(4_000_000));
    assert_eq!((reply.status, reply.wait), (Status::Denied, wait));
    assert_eq!(store.spend(1, at(1)).status, Status::Denied);
    assert_eq!(store.ask(&Request::Forgive, at(5)).status, Status::Forgiven);
    assert_eq!(store.spend(10, at(5)).status, Status::Spent);
}

#[test]
fn what_is_charged_without_leave_takes_nothing_from_leases() {
    let mut store = Store::new();
    let granted = store.lease(needs(A, 6), at(0)).granted;
    store.ask(&Request::Charge { tokens: 9 }, at(0));
    let kept = store.lease(claim(store.clone().lease(wants(A, 6), at(0)), 0, 0), at(0));
    assert_eq!((granted, kept.granted, kept.outstanding), (6, 6, 6));
    assert_eq!(store.lease(needs(B, 1), at(0)).granted, 0);
}

#[test]
fn who_leaves_is_forgotten() {
    let mut store = Store::new();
    store.lease(wants(A, 4), at(0));
    let leave = LeaseRequest {
        granted: 4,
        spent: 1,
        released: 3,
        ..wants(A, 0)
    };
    let reply = store.lease(leave, at(0));
    assert_eq!((reply.status, reply.granted), (Status::Left, 4));
    assert_eq!((reply.replicas, reply.demand, reply.outstanding), (0, 0, 0));
}

#[test]
fn nobody_leaves_with_tokens_in_hand() {
    let mut store = Store::new();
    store.lease(wants(A, 4), at(0));
    let unaware = wants(A, 0);
    let reply = store.lease(unaware, at(0));
    assert_eq!((reply.status, reply.granted), (Status::Leased, 4));
    assert_eq!(reply.outstanding, 4);
}

/// Otherwise a replica that repeats its farewell, having lost the answer, empties the bucket.
#[test]
fn leaving_twice_charges_once() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 8), at(0));
    let leave = LeaseRequest {
        granted: 8,
        spent: 5,
        released: 3,
        expiry: grant.expiry,
        ..wants(A, 0)
    };
    store.lease(leave, at(0));
    let reply = store.lease(leave, at(0));
    assert_eq!((reply.status, reply.replicas), (Status::Left, 0));
    assert_eq!(store.charged(), 5);
}

#[test]
fn a_lease_that_is_over_is_told_so() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 4), at(0));
    let late = LeaseRequest {
        granted: 4,
        spent: 1,
        expiry: grant.expiry,
        ..wants(A, 4)
    };
    let reply = store.lease(late, grant.expiry);
    assert_eq!((reply.status, reply.granted), (Status::Over, 0));
    assert_eq!(store.charged(), 4, "what it held was charged when it ended");
    assert_eq!(reply.replicas, 0);
}

/// Otherwise the rest of the lease, which was charged when it ended and has drained since, can be
/// spent again, beside what was granted to others in its place.
#[test]
fn a_lease_that_is_over_is_not_revived_by_a_late_copy_of_its_first_request() {
    let mut store = Store::new();
    let first = wants(A, 10);
    let grant = store.lease(first, at(0));
    let others = store.lease(needs(B, 10), at(LEASE + 10));
    store.lease(first, at(LEASE + 10));
    let unaware = LeaseRequest {
        granted: 10,
        expiry: grant.expiry,
        ..wants(A, 10)
    };
    let reply = store.lease(unaware, at(LEASE + 10));
    assert_eq!((others.granted, reply.status), (10, Status::Over));
    assert_eq!(reply.outstanding, 10);
}

#[test]
fn a_forgotten_lease_is_taken_back_by_a_store_that_knows_nothing() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 6), at(0));
    store.lose_everything(at(1));
    let reply = store.lease(claim(grant, 2, 1), at(1));
    assert_eq!((reply.status, reply.granted), (Status::Reasserted, 6));
    assert_eq!(reply.outstanding, 3);
    assert_eq!(reply.expiry, at(1 + LEASE));
    assert_eq!(store.charged(), 10, "all counts as spent");
}

#[test]
fn a_forgotten_lease_is_taken_back_by_a_store_that_others_have_met_since() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 6), at(0));
    store.lose_everything(at(1));
    store.look(at(1));
    let reply = store.lease(claim(grant, 2, 1), at(1));
    assert_eq!((reply.status, reply.granted), (Status::Reasserted, 6));
    assert_eq!(reply.outstanding, 3);
}

#[test]
fn forgotten_grants_are_taken_back() {
    let mut store = Store::new();
    store.lease(wants(A, 2), at(0));
    let saved = store.clone();
    let grant = store.lease(wants(A, 6), at(0));
    store = saved;
    let reply = store.lease(claim(grant, 0, 0), at(1));
    assert_eq!((reply.status, reply.granted), (Status::Reasserted, 6));
    assert_eq!(reply.outstanding, 6);
}

#[test]
fn a_forgotten_lease_that_is_over_is_not_taken_back() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 6), at(0));
    store.lose_everything(at(1));
    let reply = store.lease(claim(grant, 2, 0), grant.expiry);
    assert_eq!((reply.status, reply.outstanding), (Status::Over, 0));
}

/// Otherwise a late copy from before the loss lets tokens that were released, and granted to
/// others, before the loss be released once more.
#[test]
fn what_is_released_after_a_loss_is_not_free_before_the_bucket_has_drained() {
    let mut store = Store::new();
    let grant = store.lease(wants(A, 10), at(0));
    let late = claim(grant, 0, 0);
    store.lease(claim(grant, 0, 10), at(0));
    assert_eq!(store.spend(10, at(0)).status, Status::Spent);
    store.lose_everything(at(0));
    store.lease(late, at(0));
    store.lease(claim(grant, 0, 10), at(0));
    assert_eq!(store.spend(1, at(0)).status, Status::Denied);
}

#[test]
fn an_emptied_bucket_stays_empty_while_forgotten_leases_may_live_and_fills_at_the_rate_then() {
    let mut store = Store::new();
    store.lose_everything(at(1));
    let reply = store.spend(1, at(1));
    assert_eq!(reply.wait, Wait::For(seconds(HOLD + 1)));
    let full_again = at(1) + seconds(HOLD) + seconds(10);
    let early = StoreTime::from_micros(full_again.as_micros() - 1);
    assert_eq!(store.clone().spend(10, early).status, Status::Denied);
    assert_eq!(store.spend(10, full_again).status, Status::Spent);
}

#[test]
fn an_old_state_that_comes_back_counts_as_spent() {
    let mut store = Store::new();
    store.spend(1, at(0));
    store.birth = Birth::restarted(store.birth, seconds(HOLD), at(1));
    assert_eq!(store.spend(1, at(1)).wait, Wait::For(seconds(HOLD + 1)));
    assert_eq!(store.charged(), 10);
}

#[test]
fn what_an_old_state_charges_is_never_lowered_by_counting_as_spent() {
    let mut store = Store::new();
    store.lose_everything(at(0));
    store.spend(10, at(HOLD + 10));
    assert_eq!(
        store.charged(),
        10,
        "touched since the loss: nothing is out of date"
    );
}

/// Otherwise leases that ended long ago are charged when a key is first used after a restart.
#[test]
fn leases_of_an_old_state_that_comes_back_end_when_they_end() {
    let mut store = Store::new();
    store.lease(wants(A, 8), at(0));
    store.birth = Birth::restarted(store.birth, seconds(HOLD), at(1));
    let reply = store.look(at(1 + HOLD + 4));
    assert_eq!(reply.outstanding, 0);
    assert_eq!(store.charged(), 6, "10 charged four seconds ago");
}

#[test]
fn a_raised_limit_is_usable_at_once() {
    let mut store = Store::new();
    store.spend(10, at(0));
    store.limit = limit("3/s burst 20");
    assert_eq!(store.spend(11, at(0)).status, Status::Denied);
    assert_eq!(store.spend(10, at(0)).status, Status::Spent);
    assert_eq!(store.spend(3, at(1)).status, Status::Spent);
}

#[test]
fn under_a_lowered_limit_nothing_is_granted_until_what_is_there_fits() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    store.spend(4, at(0));
    store.limit = limit("2/s burst 5");
    assert_eq!(store.spend(1, at(0)).wait, Wait::Held);
    assert_eq!(store.lease(needs(B, 1), at(1)).granted, 0);
    let leave = LeaseRequest {
        granted: 6,
        released: 6,
        ..wants(A, 0)
    };
    store.lease(leave, at(1));
    assert_eq!(
        store.spend(3, at(1)).status,
        Status::Spent,
        "2 of 4 are left"
    );
}

#[test]
fn what_was_granted_under_the_larger_of_two_limits_is_charged_whole_by_a_caller_with_the_smaller() {
    let (small, large) = (limit("1/s burst 10"), limit("1/s burst 1000"));
    for reported in [true, false] {
        let mut store = Store::with("1/s burst 1000");
        let grant = store.lease(needs(A, 900), at(0)).granted;
        assert_eq!(grant, 900);
        store.limit = small;
        if reported {
            let spent = LeaseRequest {
                granted: grant,
                spent: grant,
                ..wants(A, 0)
            };
            store.lease(spent, at(0));
        }
        store.look(at(LEASE));
        store.limit = large;
        let drained = if reported { LEASE as u64 } else { 0 };
        assert_eq!(store.charged(), 900 - drained);
        let most = store.lease(needs(B, 1000), at(LEASE)).granted;
        assert_eq!(most, 100 + drained, "not granted twice");
    }
}

#[test]
fn once_all_fits_the_smaller_limit_the_larger_is_history() {
    let (small, large) = (limit("1/s burst 10"), limit("1/s burst 1000"));
    let mut store = Store::with("1/s burst 1000");
    store.spend(20, at(0));
    store.limit = small;
    store.look(at(9));
    assert_eq!(store.slot.as_ref().unwrap().ceiling, 1000, "11 are charged");
    store.look(at(10));
    assert_eq!(store.slot.as_ref().unwrap().ceiling, 10);
    store.limit = large;
    store.look(at(10));
    assert_eq!(store.slot.as_ref().unwrap().ceiling, 1000);
}

#[test]
fn after_a_loss_a_bucket_counts_as_spent_under_the_larger_of_two_limits() {
    let (small, large) = (limit("1/s burst 10"), limit("1/s burst 1000"));
    let mut store = Store::with("1/s burst 1000");
    store.lease(needs(A, 900), at(0));
    store.birth = Birth::meet(None, store.birth.since, seconds(HOLD), at(1));
    store.limit = small;
    store.look(at(2));
    store.limit = large;
    assert_eq!(store.spend(1, at(2)).status, Status::Denied);
}

#[test]
fn a_lifetime_covers_what_is_outstanding_under_a_larger_limit() {
    let mut store = Store::with("1/s burst 1000");
    store.lease(needs(A, 900), at(0));
    store.limit = limit("1/s burst 10");
    store.look(at(0));
    assert_eq!(store.lifetime(at(0)), seconds(900 + LEASE + 1));
}

#[test]
fn a_changed_limit_rounds_what_is_charged_up() {
    let mut store = Store::with("7/3s burst 10");
    store.spend(2, at(0));
    store.limit = limit("1/s burst 10");
    store.look(at(1));
    // 2 tokens less a second at 1 per second: the limit was changed before the time went by.
    assert_eq!(store.charged(), 1);
    store.limit = limit("1/7us burst 10");
    store.look(at(1));
    assert_eq!(store.charged(), 1);
    let meter = &mut store.slot.as_mut().unwrap().meter;
    *meter = Meter::from_stored(meter.level() - 1, meter.at(), meter.weight());
    store.limit = limit("1/5us burst 10");
    store.look(at(1));
    assert_eq!(
        store.slot.as_ref().unwrap().meter.level(),
        5,
        "6/7 of 5 is 4.3"
    );
}

#[test]
fn a_reply_tells_free_tokens_rounded_down_and_the_time_until_all_is_drained() {
    let mut store = Store::new();
    let told = |reply: Reply| (reply.free, reply.full_in);
    assert_eq!(told(store.look(at(0))), (10, Micros(0)));
    assert_eq!(told(store.spend(3, at(0))), (7, seconds(3)));
    assert_eq!(told(store.lease(needs(A, 2), at(0))), (5, seconds(5)));
    let later = at(0) + Micros(1);
    assert_eq!(told(store.look(later)), (5, Micros(4_999_999)));
    let later = at(1) + Micros(999_999);
    assert_eq!(told(store.look(later)), (6, Micros(3_000_001)));
    assert_eq!(store.look(later).charged(&store.limit), 2);
    // All that is leased is charged when the lease is over, and begins to drain then.
    assert_eq!(told(store.look(at(LEASE))), (7, seconds(3)));
    store.limit = limit("1/s burst 1");
    assert_eq!(told(store.look(at(LEASE))), (0, seconds(3)));
    store.lose_everything(at(20));
    let told = told(store.look(at(20)));
    assert_eq!(told, (0, seconds(HOLD + 1)), "frozen, then drained");
}

#[test]
fn no_ledger_tells_more_than_it_can_count() {
    let honest = Store::new().look(at(0));
    let answers = |reply: Reply| reply.answers(&Request::Spend { cost: 1 });
    assert!(answers(honest));
    let (longest, most) = (Micros(1 << 52), (1 << 52) - 1);
    for (free, full_in, believed) in [
        (most, longest, true),
        (most + 1, longest, false),
        (u64::MAX, longest, false),
        (most, Micros(longest.0 + 1), false),
        (most, Micros(u64::MAX), false),
    ] {
        let reply = Reply {
            free,
            full_in,
            ..honest
        };
        assert_eq!(answers(reply), believed, "{reply:?}");
    }
    let absurd = Reply {
        free: u64::MAX,
        outstanding: u64::MAX,
        ..honest
    };
    assert_eq!(absurd.charged(&limit("1/s burst 10")), 0);
}

#[test]
fn no_change_of_limit_however_absurd_breaks_the_ledger_or_frees_what_is_held() {
    let texts = [
        "1000000/s burst 1000000",
        "1/365day burst 5",
        "1000000000/us burst 2000000000000000",
        "999983/day burst 2000000",
        "1/365day burst 70000000",
        "1/us burst 1 overshoot 1000000000000000",
        "1/day burst 1",
    ];
    for (from, to) in texts.iter().flat_map(|from| texts.map(|to| (*from, to))) {
        let mut store = Store::with(from);
        let capacity = store.limit.capacity();
        let grant = store.lease(needs(A, capacity.div_ceil(2)), at(0));
        store.spend(capacity / 2, at(0));
        store.limit = limit(to);
        let free = store.limit.capacity().saturating_sub(capacity);
        let reply = store.lease(needs(B, u64::MAX), at(0));
        assert!(reply.granted <= free, "{from} -> {to}: {reply:?}");
        let report = LeaseRequest {
            granted: grant.granted,
            spent: grant.granted,
            ..wants(A, 0)
        };
        assert_eq!(store.lease(report, at(0)).status, Status::Left);
        store.look(at(LEASE));
        store.limit = limit(from);
        store.look(at(LEASE + 1));
        store.lifetime(at(LEASE + 1));
    }
}

#[test]
fn a_reply_answers_its_own_request_and_no_other() {
    let mut store = Store::new();
    let first = store.lease(wants(A, 4), at(0));
    assert!(first.answers(&Request::Lease(wants(A, 4))));
    assert!(!first.answers(&Request::Spend { cost: 4 }));
    assert!(!first.answers(&Request::Charge { tokens: 4 }));
    let claim = claim(first, 1, 0);
    let second = store.lease(claim, at(1));
    assert!(second.answers(&Request::Lease(claim)));
    let lies = [
        Reply {
            granted: 3,
            ..second
        },
        Reply {
            granted: 1 << 52,
            outstanding: u64::MAX,
            ..second
        },
        // More than all replicas hold together.
        Reply {
            outstanding: second.granted - 2,
            ..second
        },
        Reply {
            expiry: second.now,
            ..second
        },
        Reply {
            replicas: 0,
            ..second
        },
        Reply {
            status: Status::Spent,
            ..second
        },
        Reply {
            status: Status::Over,
            ..second
        },
        Reply {
            status: Status::Left,
            ..second
        },
        // What could not be sent back, or counted.
        Reply {
            expiry: StoreTime::from_micros(1 << 52),
            ..second
        },
        Reply {
            now: StoreTime::from_micros(1 << 52),
            ..second
        },
        Reply {
            replicas: 1 << 52,
            ..second
        },
        // More than the replicas can have between them.
        Reply {
            demand: 1 << 16,
            ..second
        },
        Reply {
            wait: Wait::For(Micros((1 << 52) + 1)),
            ..second
        },
        Reply {
            wait: Wait::For(Micros(0)),
            ..second
        },
    ];
    for lie in lies {
        assert!(!lie.answers(&Request::Lease(claim)), "{lie:?}");
    }
    // What a ledger has not granted cannot be over.
    let over = Reply {
        status: Status::Over,
        granted: 0,
        expiry: StoreTime::ZERO,
        ..second
    };
    assert!(over.answers(&Request::Lease(claim)));
    assert!(!over.answers(&Request::Lease(wants(A, 4))));
}

#[test]
fn after_its_lifetime_a_ledger_says_what_an_empty_slot_says() {
    let mut store = Store::new();
    store.lease(wants(A, 6), at(0));
    store.spend(4, at(0));
    let over = at(0) + store.lifetime(at(0));
    let grant = claim(store.lease(wants(A, 6), at(0)), 2, 1);
    for request in [
        Request::Spend { cost: 10 },
        Request::Lease(needs(B, 10)),
        Request::Lease(wants(A, 6)),
        Request::Lease(grant),
    ] {
        let mut kept = store.clone();
        let mut forgotten = store.clone();
        forgotten.slot = None;
        assert_eq!(kept.ask(&request, over), forgotten.ask(&request, over));
        assert_eq!(kept.slot.unwrap().meter, forgotten.slot.unwrap().meter);
    }
}

#[test]
fn a_lifetime_is_no_longer_than_it_need_be() {
    let mut store = Store::new();
    store.look(at(0));
    assert_eq!(store.lifetime(at(0)), seconds(LEASE + 1));
    store.spend(7, at(0));
    assert_eq!(store.lifetime(at(0)), seconds(7 + LEASE + 1));
    let ledger = store.slot.expect("it has spent");
    let without_a_lease = ledger.lifetime(&store.limit, Micros(0), at(0));
    assert_eq!(without_a_lease, seconds(7), "until it has drained");
}

#[test]
fn a_bucket_that_has_drained_and_was_never_leased_says_what_an_empty_slot_says() {
    let mut store = Store::new();
    store.spend(4, at(0));
    let ledger = store.slot.clone().expect("it has spent");
    let over = at(0) + ledger.lifetime(&store.limit, Micros(0), at(0));
    for request in [Request::Spend { cost: 10 }, Request::Lease(needs(B, 10))] {
        let (mut kept, mut forgotten) = (store.clone(), Store::new());
        assert_eq!(kept.ask(&request, over), forgotten.ask(&request, over));
        assert_eq!(kept.slot, forgotten.slot);
    }
}

/// A store of one key, first met at the beginning.
#[derive(Clone, Debug, PartialEq)]
struct Store {
    slot: Option<Ledger>,
    limit: Limit,
    birth: Birth,
}

impl Store {
    fn new() -> Self {
        Self::with("1/s burst 10")
    }

    fn with(text: &str) -> Self {
        Self {
            slot: None,
            limit: limit(text),
            birth: Birth::meet(None, StoreTime::ZERO, seconds(HOLD), at(-1)),
        }
    }

    fn ask(&mut self, request: &Request, now: StoreTime) -> Reply {
        Ledger::exchange(&mut self.slot, request, &self.limit, self.birth, now)
    }

    fn lease(&mut self, request: LeaseRequest, now: StoreTime) -> Reply {
        self.ask(&Request::Lease(request), now)
    }

    fn spend(&mut self, cost: u64, now: StoreTime) -> Reply {
        self.ask(&Request::Spend { cost }, now)
    }

    fn look(&mut self, now: StoreTime) -> Reply {
        self.spend(0, now)
    }

    /// Forgets all it knew, and hears of it from a caller that remembers.
    fn lose_everything(&mut self, now: StoreTime) {
        self.slot = None;
        self.birth = Birth::meet(None, self.birth.since, seconds(HOLD), now);
    }

    fn lifetime(&self, now: StoreTime) -> Micros {
        let ledger = self.slot.as_ref().expect("somebody has asked");
        ledger.lifetime(&self.limit, seconds(LEASE), now)
    }

    /// Tokens charged and not yet drained: whole ones, in these conversations.
    fn charged(&self) -> u64 {
        let level = self.slot.as_ref().map_or(0, |ledger| ledger.meter.level());
        let weight = self.limit.scale().weight;
        assert_eq!(level % weight, 0, "parts of tokens are charged");
        level / weight
    }
}

/// A prefetch, with all the demand there is.
fn wants(record: RecordId, tokens: u64) -> LeaseRequest {
    LeaseRequest {
        record,
        granted: 0,
        spent: 0,
        released: 0,
        wanted: tokens,
        needed: 0,
        lease: seconds(LEASE),
        expiry: StoreTime::ZERO,
        demand: Demand::ONE,
    }
}

/// A request for tokens that somebody is waiting for.
fn needs(record: RecordId, tokens: u64) -> LeaseRequest {
    LeaseRequest {
        needed: tokens,
        ..wants(record, tokens)
    }
}

/// The request by which A reports its lease after the reply `heard`, wanting nothing more.
fn claim(heard: Reply, spent: u64, released: u64) -> LeaseRequest {
    LeaseRequest {
        granted: heard.granted,
        spent,
        released,
        expiry: heard.expiry,
        ..wants(A, 0)
    }
}

fn next_generation(record: RecordId) -> RecordId {
    RecordId {
        generation: record.generation + 1,
        ..record
    }
}

fn limit(text: &str) -> Limit {
    text.parse().unwrap()
}

/// So many seconds after the conversation begins.
fn at(second: i64) -> StoreTime {
    StoreTime::from_micros(START.saturating_add_signed(second * 1_000_000))
}

fn seconds(count: i64) -> Micros {
    Micros(count.unsigned_abs() * 1_000_000)
}

const A: RecordId = RecordId {
    replica: 1,
    generation: 1,
};
const B: RecordId = RecordId {
    replica: 2,
    generation: 1,
};
const START: u64 = 1_700_000_000_000_000;

/// How long leases last, in seconds.
const LEASE: i64 = 2;

/// How long an emptied bucket stays empty, in seconds: not less than a lease lasts.
const HOLD: i64 = 2;
