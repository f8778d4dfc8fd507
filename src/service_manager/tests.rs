use super::*;

fn check(socket: &UnixDatagram, address: &OsStr) {
    tell(address, Change::Ready).unwrap();
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"READY=1\nSTATUS=serving");
}

#[test]
fn managers_hear_on_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    check(&UnixDatagram::bind(&path).unwrap(), path.as_os_str());
}

#[test]
fn managers_hear_on_an_abstract_name() {
    let name = format!("carrack-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    check(&socket, format!("@{name}").as_ref());
}

#[test]
fn nobody_there_is_an_error_and_no_wait() {
    let dir = tempfile::tempdir().unwrap();
    tell(dir.path().join("none").as_os_str(), Change::Stopping).unwrap_err();
}
