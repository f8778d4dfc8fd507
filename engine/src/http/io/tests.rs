use tokio::io::AsyncWriteExt;

use super::*;

fn check(head: &str, expected: Option<&str>) {
    let got = with_upgrade(head.as_bytes());
    assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{head:?}");
}

#[test]
fn only_hijacks_without_upgrade_are_changed() {
    check(
        "POST /v1.24/containers/x/attach?stdin=1 HTTP/1.1\r\nHost: d\r\n\r\nrest",
        Some(
            "POST /v1.24/containers/x/attach?stdin=1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nHost: d\r\n\r\nrest",
        ),
    );
    check(
        "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nUPGRADE: tcp\r\n\r\n",
        None,
    );
    check("POST /exec/x/start HTTP/1.1\r\nupgrade: tcp\r\n\r\n", None);
    check("POST /containers/x/start HTTP/1.1\r\nHost: d\r\n\r\n", None);
    check("GET /containers/x/attach HTTP/1.1\r\nHost: d\r\n\r\n", None);
    check("garbage\r\n\r\n", None);
}

#[tokio::test]
async fn the_status_line_of_a_hijack_is_replaced_once() {
    let (client, server) = UnixStream::pair().unwrap();
    let (mut read, mut write) = client.into_split();
    write
        .write_all(b"POST /exec/x/start HTTP/1.1\r\nHost: d\r\n\r\n")
        .await
        .unwrap();
    let mut connection = Connection::open(server).await.unwrap().unwrap();
    let mut seen = vec![0; 200];
    let count = connection.read(&mut seen).await.unwrap();
    assert!(String::from_utf8_lossy(&seen[..count]).contains("Upgrade: tcp"));
    connection
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\nHTTP/1.1 101")
        .await
        .unwrap();
    connection.shutdown().await.unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 101");
}
