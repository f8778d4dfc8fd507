use super::*;

#[test]
fn the_table() {
    let network = Network {
        name: "bridge".to_owned(),
        id: "96d7730d370f0000000000".to_owned(),
        created: "2026-01-31T12:00:00.123456789Z".to_owned(),
        driver: "bridge".to_owned(),
        scope: "local".to_owned(),
        enable_ipv4: true,
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        ..Network::default()
    };
    let rows = || vec![row(&network, short_id(&network.id).to_owned())];
    insta::assert_snapshot!(NETWORKS.render(None, rows()).unwrap(), @r"
    NETWORK ID     NAME      DRIVER    SCOPE
    96d7730d370f   bridge    bridge    local
    ");
    let format = r#"{{.CreatedAt}} {{.IPv4}}/{{.IPv6}} {{.Internal}} {{.Label "tier"}}"#;
    insta::assert_snapshot!(NETWORKS.render(Some(format), rows()).unwrap(), @r"2026-01-31 12:00:00 +0000 UTC true/false false front");
}
