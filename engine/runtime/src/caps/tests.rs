use super::*;

fn check(add: &[&str], drop: &[&str], expected: Result<u64, &str>) {
    let found = Capabilities::docker_default().adjust(add, drop);
    match (&found, expected) {
        (Ok(set), Ok(bits)) => assert_eq!(set.bits(), bits, "{set:?}"),
        (Err(e), Err(text)) => assert!(e.to_string().contains(text), "{e}"),
        _ => panic!("{found:?}"),
    }
}

#[test]
fn the_default_set_is_dockers() {
    check(&[], &[], Ok(0xa80425fb));
}

#[test]
fn add_and_drop_combine_as_docker_does() {
    check(&["NET_ADMIN"], &[], Ok(0xa80435fb));
    check(&["cap_net_admin"], &["CHOWN"], Ok(0xa80435fa));
    check(&[], &["ALL"], Ok(0));
    check(&["CHOWN"], &["all"], Ok(1));
    check(&["ALL"], &["CHOWN"], Ok(0x1ff_ffff_fffe));
}

#[test]
fn unknown_names_are_refused() {
    check(&["NET_ADMINN"], &[], Err("NET_ADMINN"));
    check(&[], &["CAP_"], Err("CAP_"));
}
