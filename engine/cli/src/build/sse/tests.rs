use super::*;

fn events(pieces: &[&str]) -> Vec<(String, String)> {
    let mut parser = Parser::default();
    pieces
        .iter()
        .flat_map(|piece| parser.push(piece.as_bytes()).unwrap())
        .map(|event| (event.id, event.data))
        .collect()
}

fn pair(id: &str, data: &str) -> (String, String) {
    (id.to_owned(), data.to_owned())
}

#[test]
fn fields_and_lines() {
    assert_eq!(
        events(&[": hello\n\nid: 1\nevent: step\ndata: {\"a\":1}\n\ndata:x\ndata: y\r\n\r\n"]),
        [pair("1", "{\"a\":1}"), pair("1", "x\ny")]
    );
    // No data, no event; the id counts all the same.
    assert_eq!(events(&["id: 7\n\n", "data: z\n\n"]), [pair("7", "z")]);
    // An event that was not ended is not one.
    assert_eq!(events(&["data: z\n"]), []);
}

#[test]
fn pieces_may_end_anywhere() {
    let text = "id: 1\r\ndata: ä\r\n\r\nid: 2\ndata: b\n\n";
    let mut parser = Parser::default();
    let mut found = Vec::new();
    for byte in text.as_bytes() {
        found.extend(parser.push(&[*byte]).unwrap());
    }
    let found: Vec<_> = found.into_iter().map(|e| (e.id, e.data)).collect();
    assert_eq!(found, [pair("1", "ä"), pair("2", "b")]);
}

#[test]
fn an_event_without_end_is_refused() {
    let mut parser = Parser::default();
    let piece = [b'x'; 1 << 20];
    let refused = (0..9).find_map(|_| parser.push(&piece).err());
    assert_eq!(refused, Some(TooLarge));
}
