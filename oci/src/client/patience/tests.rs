use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn waits_grow_up_to_a_bound_and_end() {
    let patience = Patience {
        tries_max: 40,
        ..Patience::default()
    };
    let most = |made| patience.wait(made, None, 0.999_999_999).unwrap();
    let least = |made| patience.wait(made, None, 0.0).unwrap();
    for (made, wait) in [(1, 200), (2, 400), (5, 3200), (7, 10_000), (39, 10_000)] {
        assert_eq!(least(made), MS(wait) / 2, "{made}");
        assert!(
            most(made) > MS(wait - 1) && most(made) <= MS(wait),
            "{made}"
        );
    }
    assert_eq!(patience.wait(40, None, 0.5), None);
    assert_eq!(Patience::NONE.wait(1, None, 0.5), None);
    assert_eq!(Patience::NONE.wait(1, Some(Duration::ZERO), 0.5), None);
}

#[test]
fn what_the_registry_asks_for_is_kept_to() {
    let patience = Patience::default();
    let asked = |wait, noise| patience.wait(1, Some(wait), noise);
    assert_eq!(asked(MS(7000), 0.0), Some(MS(7000)));
    assert_eq!(asked(MS(7000), 0.5), Some(MS(7100)));
    assert_eq!(asked(MS(60_000), 0.0), Some(MS(60_000)));
    assert_eq!(asked(MS(60_001), 0.0), None);
    assert_eq!(patience.wait(6, Some(MS(1)), 0.0), None);
}

#[test]
fn clients_differ() {
    let mut seen: Vec<u64> = (0..100).map(|_| (noise() * 1e9) as u64).collect();
    assert!(seen.iter().all(|n| *n < 1_000_000_000));
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 90, "{}", seen.len());
}
