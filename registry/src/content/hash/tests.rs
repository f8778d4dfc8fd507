use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn hashing_goes_on_after_a_restart(
        head in proptest::collection::vec(any::<u8>(), 0..300),
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        long in any::<bool>(),
    ) {
        let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let mut first = Hasher::new(algorithm);
        first.update(&head);
        let mut second = restore_hasher(algorithm, &save_hasher(&first)).unwrap();
        second.update(&tail);
        let mut whole = Hasher::new(algorithm);
        whole.update(&[head, tail].concat());
        prop_assert_eq!(second.finish(), whole.finish());
    }

    #[test]
    fn foreign_bytes_are_no_state(state in proptest::collection::vec(any::<u8>(), 0..300)) {
        if state.len() != 104 {
            prop_assert!(restore_hasher(Algorithm::Sha256, &state).is_none());
        }
    }
}
