use super::Stock;
use crate::db::OldRecord;

fn stock() -> Stock {
    let record = |id, layers: &[&str]| OldRecord {
        id,
        layers: layers.iter().map(|name| (*name).to_owned()).collect(),
    };
    Stock {
        records: vec![
            record(1, &["base", "a"]),
            record(2, &["base", "b"]),
            record(3, &["base", "a", "c"]),
        ],
        sizes: [("base", 100), ("a", 10), ("b", 20), ("c", 30)]
            .map(|(name, size)| (name.to_owned(), size))
            .into(),
    }
}

#[test]
fn the_oldest_go_first_and_what_others_use_stays() {
    let check = |bytes_max, records: &[i64], layers: &[&str]| {
        let (dropped, removed) = stock().surplus(bytes_max);
        assert_eq!((dropped.as_slice(), removed.len()), (records, layers.len()));
        assert_eq!(removed, layers);
    };
    check(160, &[], &[]);
    // The first record has nothing of its own.
    check(159, &[1, 2], &["b"]);
    check(139, &[1, 2, 3], &["b", "base", "a", "c"]);
}
