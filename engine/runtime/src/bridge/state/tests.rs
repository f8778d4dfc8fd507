use super::*;

fn config(pool: usize) -> BridgeConfig {
    let mut cfg = BridgeConfig::new("t0", "10.0.0.0/29".parse().unwrap());
    cfg.pool = pool;
    cfg
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// Makes what the state asks for, until it asks for nothing.
fn fill(state: &mut State, cfg: &BridgeConfig, now: Instant) -> Vec<u8> {
    let mut made = Vec::new();
    while let Work::Make(address) = state.find_work(cfg, now) {
        made.push(address.octets()[3]);
        let netns = std::fs::File::open("/dev/null").unwrap().into();
        state.deliver(Ready { address, netns });
    }
    made
}

#[test]
fn pool_is_filled_once() {
    let (cfg, now) = (config(2), Instant::now());
    let mut state = State::new([]);
    assert_eq!(fill(&mut state, &cfg, now), [2, 3]);
    assert_eq!(state.find_work(&cfg, now), Work::Wait(None));
}

#[test]
fn refill_waits_until_the_container_had_time_to_start() {
    let (cfg, now) = (config(4), Instant::now());
    let mut state = State::new([]);
    fill(&mut state, &cfg, now);
    let mut take = || {
        let ready = state.pool.pop_front().unwrap();
        state.lease(ready.address, now);
        state.find_work(&cfg, now)
    };
    let later = Work::Wait(Some(now + REFILL_DELAY));
    assert_eq!(
        [take(), take()],
        [later, Work::Wait(Some(now + REFILL_DELAY))]
    );
    assert!(matches!(take(), Work::Make(_)), "running low");
    let mut state = State::new([]);
    fill(&mut state, &cfg, now);
    let ready = state.pool.pop_front().unwrap();
    state.lease(ready.address, now);
    assert_eq!(fill(&mut state, &cfg, now + REFILL_DELAY), [6]);
}

#[test]
fn those_who_wait_are_served_without_a_pool() {
    let (cfg, now) = (config(0), Instant::now());
    let mut state = State::new([]);
    assert_eq!(state.find_work(&cfg, now), Work::Wait(None));
    state.waiting = 2;
    assert_eq!(fill(&mut state, &cfg, now), [2, 3]);
}

#[test]
fn found_and_draining_addresses_are_not_given() {
    let (cfg, now) = (config(8), Instant::now());
    let mut state = State::new([address(3)]);
    state.drain(address(5), now);
    assert_eq!(fill(&mut state, &cfg, now), [2, 4, 6]);
    state.link_gone(address(5));
    state.link_gone(address(3));
    state.link_gone(address(2));
    assert_eq!(fill(&mut state, &cfg, now), [3, 5], "2 is in the pool");
}

#[test]
fn wanted_address_goes_to_who_asked() {
    let (cfg, now) = (config(0), Instant::now());
    let mut state = State::new([]);
    state.ask(address(4));
    assert_eq!(fill(&mut state, &cfg, now), [4]);
    assert!(state.pool.is_empty() && state.wanted.contains_key(&address(4)));
}

#[test]
fn full_subnet_fails_those_who_wait_but_not_while_addresses_return() {
    let (cfg, now) = (config(0), Instant::now());
    let mut state = State::new([]);
    for last in 2..=6 {
        state.lease(address(last), now);
    }
    state.waiting = 1;
    state.drain(address(2), now);
    assert_eq!(state.find_work(&cfg, now), Work::Wait(None));
    assert_eq!(state.failures, 0);
    state.lease(address(2), now);
    state.find_work(&cfg, now);
    assert_eq!(state.failures, 1);
}

#[test]
fn failures_are_not_repeated_at_once() {
    let (cfg, now) = (config(1), Instant::now());
    let mut state = State::new([]);
    state.fail(NetError::Stopped, now);
    assert_eq!(
        state.find_work(&cfg, now),
        Work::Wait(Some(now + RETRY_DELAY))
    );
    assert!(matches!(
        state.find_work(&cfg, now + RETRY_DELAY),
        Work::Make(_)
    ));
    state.stopping = true;
    assert_eq!(state.find_work(&cfg, now), Work::Stop);
}

#[test]
fn abandoned_wish_goes_to_the_pool() {
    let (cfg, now) = (config(0), Instant::now());
    for made_before in [true, false] {
        let mut state = State::new([]);
        state.ask(address(4));
        if made_before {
            fill(&mut state, &cfg, now);
        }
        state.abandon(address(4));
        fill(&mut state, &cfg, now);
        assert!(state.wanted.is_empty());
        assert!(state.take(address(4), false).is_some());
    }
}
