//! Callers against answers of all kinds.

use proptest::prelude::*;

use super::*;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;

fn config(text: &str) -> ClientsConfig {
    let config: ClientsConfig = toml::from_str(text).unwrap();
    config.check().unwrap();
    config
}

fn clients(text: &str, seconds: u64) -> Clients {
    Clients::new(&[(0, config(text), 10)], Span::from_secs(seconds), 1)
}

/// A request from outside.
fn first(at_ns: u64) -> Arrival {
    Arrival {
        at_ns,
        key: 77,
        cost: 3,
        origin: Origin {
            load: 0,
            tries: 0,
            client: 0,
        },
    }
}

fn open(clients: &Clients) -> &Waiting {
    match &clients.groups[0].callers {
        Callers::Open(waiting) => waiting,
        Callers::Closed { .. } => panic!("a closed load"),
    }
}

#[test]
fn only_loads_with_clients_listen() {
    let open = config("retry = { immediate = { times = 1 } }");
    let closed = config("count = 5\nwant = \"1/s\"");
    let configs = [(1, open, 9), (3, closed, 9)];
    let clients = Clients::new(&configs, Span::from_secs(1), 1);
    let listening: Vec<u16> = (0..9).filter(|load| clients.listens(*load)).collect();
    assert_eq!(listening, [1, 3]);
    assert_eq!((clients.population(1), clients.population(3)), (0, 5));
    assert!(clients.tally(0).is_none());
}

#[test]
fn a_denied_request_comes_again_as_it_was_until_it_is_allowed() {
    let mut clients = clients("retry = { fixed = { wait = \"100ms\", times = 5 } }", 10);
    clients.answered(&first(SECOND), false, None, SECOND + MILLI);
    assert_eq!(clients.next_at(), Some(SECOND + 101 * MILLI));
    let second = clients.pop();
    assert_eq!((second.key, second.cost), (77, 3));
    assert_eq!((second.origin.load, second.origin.tries), (0, 1));
    assert_eq!(clients.next_at(), None);
    clients.answered(&second, false, None, second.at_ns);
    let third = clients.pop();
    assert_eq!(third.origin.tries, 2);
    clients.answered(&third, true, None, third.at_ns);
    assert_eq!(clients.next_at(), None);
    let tally = clients.tally(0).unwrap();
    assert_eq!((tally.requests, tally.tries, tally.retries()), (1, 3, 2));
    assert_eq!((tally.satisfied, tally.given_up), (1, 0));
    let taken = tally.time_to_success.max();
    assert!(taken.abs_diff(201 * MILLI) < MILLI, "{taken}");
}

#[test]
fn a_request_is_given_up_after_its_times_or_its_budget() {
    let mut clients = clients(
        "retry = { fixed = { wait = \"100ms\", times = 2 } }\ngive-up = \"1s\"",
        10,
    );
    let mut request = first(0);
    for _ in 0..2 {
        clients.answered(&request, false, None, request.at_ns);
        request = clients.pop();
    }
    clients.answered(&request, false, None, request.at_ns);
    assert_eq!(clients.next_at(), None);
    assert_eq!(clients.tally(0).unwrap().given_up, 1);
    // The answer has taken long: a try at exactly the end of the budget is the last.
    clients.answered(&first(0), false, None, 900 * MILLI);
    assert_eq!(clients.next_at(), Some(SECOND));
    let last = clients.pop();
    clients.answered(&last, false, None, SECOND);
    assert_eq!(clients.next_at(), None);
    clients.answered(&first(0), false, None, 900 * MILLI + 1);
    assert_eq!(clients.next_at(), None);
    assert_eq!(clients.tally(0).unwrap().given_up, 3);
}

#[test]
fn nothing_is_sent_at_or_after_the_end() {
    let mut clients = clients("retry = { fixed = { wait = \"1s\", times = 9 } }", 2);
    clients.answered(&first(SECOND - 1), false, None, SECOND - 1);
    clients.answered(&first(SECOND), false, None, SECOND);
    assert_eq!(clients.pop().at_ns, 2 * SECOND - 1);
    assert_eq!(clients.next_at(), None);
    assert_eq!(clients.tally(0).unwrap().cut_short, 1);
}

#[test]
fn a_client_that_would_go_on_at_the_end_is_done() {
    let next_after = |now_ns| {
        let mut clients = clients("count = 1\nthink = { fixed = \"1s\" }", 10);
        let request = clients.pop();
        clients.answered(&request, true, None, now_ns);
        clients.next_at()
    };
    assert_eq!(next_after(9 * SECOND - 1), Some(10 * SECOND - 1));
    assert_eq!(next_after(9 * SECOND), None);
}

#[test]
fn advice_is_followed_and_never_means_never() {
    let mut clients = clients("retry = { retry-after = {} }", 10);
    clients.answered(&first(5), false, Some(1234), 6);
    assert_eq!(clients.next_at(), Some(1240));
    clients.pop();
    clients.answered(&first(5), false, None, 6);
    assert_eq!(clients.next_at(), None);
    assert_eq!(clients.tally(0).unwrap().given_up, 1);
}

#[test]
fn requests_of_one_time_come_in_the_order_of_their_denials() {
    let mut clients = clients("retry = { retry-after = {} }", 10);
    for key in 0..100 {
        let request = Arrival {
            key,
            ..first(u64::from(key))
        };
        clients.answered(&request, false, Some(1000 - u64::from(key)), key.into());
    }
    let keys: Vec<u32> = (0..100).map(|_| clients.pop().key).collect();
    assert!(keys.is_sorted());
}

#[test]
fn places_of_requests_that_are_done_are_used_again() {
    let mut clients = clients("retry = { immediate = { times = 3 } }", 1000);
    for round in 0..1000 {
        let waiting: Vec<Arrival> = (0..8)
            .map(|_| {
                clients.answered(&first(round), false, None, round);
                clients.pop()
            })
            .collect();
        for (number, request) in (0..).zip(waiting) {
            let mut request = request;
            while number % 2 == 0 && request.origin.tries < 3 {
                clients.answered(&request, false, None, round);
                request = clients.pop();
            }
            clients.answered(&request, number % 2 == 1, None, round);
        }
    }
    assert_eq!(open(&clients).places(), 8);
    let tally = clients.tally(0).unwrap();
    assert_eq!((tally.satisfied, tally.given_up), (4000, 4000));
    assert_eq!(tally.tries, 1000 * (4 * 4 + 4 * 2));
}

#[test]
fn requests_that_the_end_cuts_short_take_no_place() {
    let mut clients = clients("retry = { retry-after = {} }", 10);
    for _ in 0..100 {
        clients.answered(&first(0), false, Some(10 * SECOND), 0);
    }
    assert_eq!(open(&clients).places(), 0);
    for _ in 0..100 {
        clients.answered(&first(0), false, Some(1), 0);
        let retry = clients.pop();
        clients.answered(&retry, false, Some(10 * SECOND - 1), 1);
    }
    assert_eq!(open(&clients).places(), 1);
    assert_eq!(clients.tally(0).unwrap().cut_short, 200);
}

#[test]
#[should_panic(expected = "a retry hears one answer")]
fn an_answer_that_comes_twice_is_a_bug() {
    let mut clients = clients("retry = { immediate = { times = 3 } }", 10);
    clients.answered(&first(0), false, None, 0);
    let retry = clients.pop();
    clients.answered(&retry, false, None, 0);
    clients.answered(&retry, false, None, 0);
}

#[test]
fn a_client_has_its_key_and_waits_for_its_answer() {
    let mut clients = clients("count = 25\nthink = { fixed = \"1s\" }", 100);
    let sent: Vec<Arrival> = (0..25).map(|_| clients.pop()).collect();
    assert_eq!(clients.next_at(), None);
    assert!(
        sent.iter()
            .all(|it| it.key == it.origin.client % 10 && it.cost == 1)
    );
    clients.answered(&sent[7], true, None, 30 * SECOND);
    assert_eq!(clients.next_at(), Some(31 * SECOND));
    assert_eq!(clients.pop().origin.client, sent[7].origin.client);
}

#[test]
fn a_client_that_retries_keeps_its_request_and_then_goes_on() {
    let mut clients = clients(
        "count = 1\nthink = { fixed = \"1s\" }\n\
         retry = { fixed = { wait = \"100ms\", times = 2 } }",
        100,
    );
    let mut request = clients.pop();
    // Another key and cost were drawn for it.
    (request.key, request.cost) = (4, 9);
    let first_at_ns = request.at_ns;
    for tries in 1..=2 {
        clients.answered(&request, false, None, request.at_ns);
        request = clients.pop();
        assert_eq!(
            (request.origin.tries, request.key, request.cost),
            (tries, 4, 9)
        );
    }
    clients.answered(&request, false, None, request.at_ns);
    let next = clients.pop();
    assert_eq!(next.at_ns, first_at_ns + 200 * MILLI + SECOND);
    assert_eq!((next.origin.tries, next.key, next.cost), (0, 0, 1));
    assert_eq!(clients.tally(0).unwrap().given_up, 1);
}

#[test]
fn clients_that_want_a_rate_offer_it_while_they_are_heard_at_once() {
    let mut clients = clients("count = 500\nwant = \"4/s\"", 60);
    let mut sent = 0;
    while clients.next_at().is_some() {
        let request = clients.pop();
        clients.answered(&request, sent % 2 == 0, Some(SECOND), request.at_ns);
        sent += 1;
    }
    assert_eq!(sent, 500 * 4 * 60);
}

#[test]
fn flows_on_one_limit_use_most_of_it_and_share_it() {
    // The literature's setting on one bucket: ten flows, 1000 tokens a second. A flow takes some
    // 5 s from one fall to the next, so by chance alone flows differ over a minute: of 20 seeds,
    // Jain's index was 0.960 or more in 60 s, 0.977 in 100 s, 0.997 in 1000 s.
    let mut clients = clients("count = 10\naimd = { start = \"10/s\" }", 1020);
    let (mut tokens, mut last_ns) = (50.0_f64, 0);
    let mut admitted = [0_u32; 10];
    while clients.next_at().is_some() {
        let request = clients.pop();
        let passed = Span(request.at_ns - last_ns).as_secs_f64();
        tokens = (tokens + passed * 1000.0).min(50.0);
        last_ns = request.at_ns;
        let allowed = tokens >= 1.0;
        if allowed {
            tokens -= 1.0;
            admitted[request.origin.client as usize] += u32::from(request.at_ns > 20 * SECOND);
        }
        clients.answered(&request, allowed, None, request.at_ns);
    }
    let sum: f64 = admitted.iter().map(|count| f64::from(*count)).sum();
    let squares: f64 = admitted.iter().map(|count| f64::from(*count).powi(2)).sum();
    let jain = sum * sum / (10.0 * squares);
    assert!(jain > 0.995, "{jain} {admitted:?}");
    let used = sum / (1000.0 * 1000.0);
    assert!((0.99..=1.0).contains(&used), "{used}");
}

#[test]
fn whoever_keeps_a_connection_has_a_name_of_its_own() {
    let two = config("count = 2\nwant = \"1/s\"");
    let three = config("count = 3\nwant = \"1/s\"");
    let configs = [(1, two, 9), (2, config(""), 9), (4, three, 9)];
    let clients = Clients::new(&configs, Span::from_secs(9), 1);
    let caller = |load, client, key| {
        let origin = Origin {
            load,
            tries: 0,
            client,
        };
        clients.caller(&Arrival {
            key,
            origin,
            ..first(0)
        })
    };
    let closed = [
        caller(1, 0, 5),
        caller(1, 1, 5),
        caller(4, 0, 5),
        caller(4, 2, 5),
    ];
    assert_eq!(closed, [0, 1, 2, 4]);
    // Open loads, with and without clients that retry, go by their key.
    assert_eq!(
        [caller(0, 0, 7), caller(2, 0, 7), caller(2, 3, 7)],
        [12, 12, 12]
    );
}

#[test]
fn counting_anew_forgets_the_warm_up_only() {
    let mut clients = clients("retry = { immediate = { times = 3 } }", 10);
    clients.answered(&first(0), false, None, 0);
    clients.count_anew();
    let retry = clients.pop();
    clients.answered(&retry, true, None, 5);
    let tally = clients.tally(0).unwrap();
    assert_eq!((tally.requests, tally.tries, tally.satisfied), (0, 1, 1));
    assert_eq!(tally.retries(), 1);
}

/// All that a closed load sends to something that denies by chance and answers late by chance.
fn run(text: &str, seed: u64, seconds: u64) -> (Vec<Arrival>, Clients) {
    let mut clients = Clients::new(&[(2, config(text), 7)], Span::from_secs(seconds), seed);
    let mut world = stream(seed, "test", 0);
    let mut sent = vec![];
    let mut late = std::collections::BTreeMap::new();
    loop {
        let send_ns = clients.next_at().unwrap_or(u64::MAX);
        let answer = late.first_key_value().map(|(at, allowed)| (*at, *allowed));
        match answer {
            Some(((now_ns, number), allowed)) if now_ns <= send_ns => {
                late.remove(&(now_ns, number));
                let advice: u64 = rand::RngExt::random_range(&mut world, 0..SECOND);
                let request: Arrival = sent[number];
                clients.answered(&request, allowed, Some(advice), now_ns);
            }
            _ if send_ns == u64::MAX => return (sent, clients),
            _ => {
                let request = clients.pop();
                let delay: u64 = rand::RngExt::random_range(&mut world, 0..100 * MILLI);
                let allowed = rand::RngExt::random_bool(&mut world, 0.4);
                late.insert((request.at_ns + delay, sent.len()), allowed);
                sent.push(request);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn clients_send_in_order_of_time_one_request_each_and_nobody_is_lost(
        pace in 0..4_usize,
        retry in 0..4_usize,
        seed: u64,
    ) {
        let pace = [
            "think = { exponential = \"300ms\" }",
            "think = { fixed = \"300ms\" }",
            "want = \"5/s\"",
            "aimd = { start = \"5/s\" }",
        ][pace];
        let retry = [
            "",
            "retry = { immediate = { times = 3 } }",
            "retry = { exponential = { base = \"50ms\", cap = \"1s\", times = 3 } }",
            "retry = { retry-after = { jitter = \"10%\", times = 3 } }\ngive-up = \"1s\"",
        ][if pace.starts_with("aimd") { 0 } else { retry }];
        let text = format!("count = 20\n{pace}\n{retry}");
        let (sent, clients) = run(&text, seed, 20);
        prop_assert!(sent.is_sorted_by_key(|it| it.at_ns));
        let is_sound = |it: &Arrival| it.at_ns < 20 * SECOND && it.key == it.origin.client % 7;
        prop_assert!(sent.iter().all(is_sound));
        // Whoever was alive to the end has sent in the last seconds.
        for client in 0..20 {
            let last = sent.iter().rev().find(|it| it.origin.client == client);
            prop_assert!(last.unwrap().at_ns > 14 * SECOND);
        }
        let tally = clients.tally(2).unwrap();
        prop_assert_eq!(tally.tries, sent.len() as u64);
        prop_assert_eq!(tally.requests, tally.satisfied + tally.given_up + tally.cut_short);
        prop_assert_eq!(tally.satisfied, tally.time_to_success.len());
        prop_assert!(sent.iter().all(|it| it.origin.tries <= 3));
        prop_assert_eq!(run(&text, seed, 20).0, sent);
    }
}
