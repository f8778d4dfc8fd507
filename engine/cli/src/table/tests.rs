use super::*;

#[track_caller]
fn check(rows: &[&str], expected: &str) {
    let rows: Vec<_> = rows.iter().map(|row| (*row).to_owned()).collect();
    assert_eq!(align(&rows), expected);
}

#[test]
fn columns_are_at_least_ten_wide_and_the_last_is_not_padded() {
    check(
        &["ID\tIMAGE\tNAMES", "0123456789ab\tx\tweb"],
        "ID             IMAGE     NAMES\n0123456789ab   x         web\n",
    );
    check(&["a"], "a\n");
    check(&[], "");
    check(&["a\t", "b\tc"], "a         \nb         c\n");
}

#[test]
fn width_counts_characters_and_rows_may_differ_in_length() {
    check(&["ééééééééé\tx", "a\ty"], "ééééééééé   x\na           y\n");
    check(&["a\tb\tc", "d"], "a         b         c\nd\n");
}
