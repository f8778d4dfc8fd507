//! A part that is stuck before it serves. What holds it is a pipe where its
//! signing key was: opening one waits for a writer, as a network file system
//! that does not answer would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Carrack, Site, refusal, run, signal, wait_for};

/// The signing key of a site's registry, replaced by a pipe.
struct Pipe {
    path: PathBuf,
    key: Vec<u8>,
}

impl Pipe {
    fn in_place_of(path: &Path) -> Self {
        let key = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        run(Command::new("mkfifo").args(["-m", "666"]).arg(path));
        Self {
            path: path.to_owned(),
            key,
        }
    }

    fn give_back(self) {
        fs::remove_file(&self.path).unwrap();
        // Beside, then in place: a part that starts meanwhile finds it whole.
        let beside = self.path.with_extension("back");
        fs::write(&beside, self.key).unwrap();
        run(Command::new("chmod").arg("666").arg(&beside));
        fs::rename(beside, self.path).unwrap();
    }
}

fn key(site: &Site) -> PathBuf {
    let found = run(Command::new("find")
        .arg(site.data_dir())
        .args(["-name", "token.p8"]));
    assert!(found.ends_with("token.p8"), "{found}");
    found.into()
}

#[test]
fn a_start_that_is_stuck_ends_with_the_parts_name_and_what_to_do() {
    let mut server = Carrack::registry();
    assert!(server.stop());
    let pipe = Pipe::in_place_of(&key(&server.site));
    let flags = ["--role=registry", "--start-timeout=1"];
    let text = refusal(server.site.serve().args(flags));
    let last = text.lines().last().unwrap_or_default();
    for part in [
        "the front process does not serve 1s after its start",
        "--start-timeout",
    ] {
        assert!(last.contains(part), "{text}");
    }
    pipe.give_back();
    server.restart();
    server.api().get("/v2/").unwrap().expect(200);
}

#[test]
fn a_restart_that_is_stuck_is_tried_again_while_the_others_serve() {
    // Enough for a start on a busy machine, and waited out once.
    let mut server = Carrack::start_with(Site::new(), &["--start-timeout=8"]);
    let pipe = Pipe::in_place_of(&key(&server.site));
    signal(server.child_pid("front"), "KILL");
    wait_for("a stuck front to be given up", || {
        let said = "the front process does not serve 8s after its start";
        server.log().contains(said).then_some(())
    });
    assert_eq!(run(&mut server.docker(&["ps", "-q"])), "");
    pipe.give_back();
    server.wait_ready();
    server.api().get("/v2/").unwrap().expect(200);
    assert!(server.stop(), "{}", server.log());
}
