//! A disk that is full, for each part of a whole server: the error says so,
//! nothing half-written is seen, and all is well once there is space.

use std::{
    fs::{self, File},
    io::Write,
};

use crate::{
    build::{context, finish, submit},
    harness::{Carrack, Site, output, push_busybox, run},
};

/// Takes all of the disk but `spare` bytes for as long as it lives.
struct Filler(std::path::PathBuf);

impl Filler {
    fn leave(site: &Site, spare: u64) -> Self {
        let filler = Self(site.data_dir().join("filler"));
        let mut file = File::create(&filler.0).unwrap();
        for block in [1 << 20, 4096, 1] {
            let zeros = vec![0; block];
            while file.write(&zeros).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length - spare).unwrap();
        file.sync_all().unwrap();
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[track_caller]
fn says_full(text: &str) {
    let text = text.to_lowercase();
    assert!(
        text.contains("no space left") || text.contains("disk is full"),
        "{text}"
    );
}

#[test]
fn a_push_gets_a_typed_error_and_leaves_nothing_visible() {
    let server = Carrack::start_with(Site::on_small_disk(24), &["--role", "registry"]);
    let team = server.api().registry("team/big");
    let blob: Vec<u8> = (0..32u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let digest = oci::Digest::sha256(&blob);
    let path = team.begin_upload(&digest);
    let headers = [("content-type", "application/octet-stream")];
    let answer = team.send("PUT", &path, &headers, blob).unwrap();
    assert_eq!(answer.status, 507, "{}", answer.text());
    says_full(&answer.text());
    team.send("HEAD", &format!("blobs/{digest}"), &[], Vec::new())
        .unwrap()
        .expect(404);
    // It still serves, and takes what fits.
    push_busybox(&server, "team/small:1");
}

#[test]
fn pull_run_and_build_say_so_and_get_over_it() {
    let server = Carrack::start_with(Site::on_small_disk(96), &[]);
    let image = push_busybox(&server, "team/busybox:1");
    let docker = |words: &[&str]| output(&mut server.docker(words));
    let said = |done: &std::process::Output| String::from_utf8_lossy(&done.stderr).into_owned();
    let dockerfile =
        format!("FROM {image}\nRUN dd if=/dev/zero of=/big bs=64k count=600\nRUN true\n");

    let filler = Filler::leave(&server.site, 700 << 10);
    let pull = docker(&["pull", "-q", &image]);
    assert_eq!(pull.status.code(), Some(1), "{}", said(&pull));
    says_full(&said(&pull));
    assert_eq!(run(&mut server.docker(&["images", "-q"])), "");
    drop(filler);
    run(&mut server.docker(&["pull", "-q", &image]));

    // Within RUN: the program is told, and the build ends with its words.
    let filler = Filler::leave(&server.site, 8 << 20);
    let id = submit(&server, "", context(&[("Dockerfile", &dockerfile)]));
    let built = finish(&server, &id);
    assert_eq!(built["state"], "failed", "{built}");
    let log = server.api().get(&format!("/api/v1/builds/{id}/log"));
    says_full(&log.unwrap().text());
    server.expect_no_container();
    // A context that does not fit.
    let big = "x".repeat(10 << 20);
    let tar = context(&[("Dockerfile", "FROM scratch\nCOPY big /\n"), ("big", &big)]);
    let answer = server
        .api()
        .post("/api/v1/builds", "application/x-tar", tar);
    assert_eq!(answer.status, 507, "{}", answer.text());
    says_full(&answer.text());
    drop(filler);

    // To the last byte: databases, logs and layers at once.
    run(&mut server.docker(&["run", "-d", "--name", "kept", &image, "sleep", "1000"]));
    let filler = Filler::leave(&server.site, 0);
    let failed = docker(&["run", "--rm", &image, "true"]);
    assert_eq!(failed.status.code(), Some(125), "{}", said(&failed));
    says_full(&said(&failed));
    let small = context(&[("Dockerfile", "FROM scratch\nENV A=1\n")]);
    let answer = server
        .api()
        .post("/api/v1/builds", "application/x-tar", small);
    assert_eq!(answer.status, 507, "{}", answer.text());
    says_full(&answer.text());
    // What is there is still told, and what runs goes on.
    let names = ["ps", "--format", "{{.Names}} {{.State}}"];
    assert_eq!(run(&mut server.docker(&names)), "kept running");
    let exec = docker(&["exec", "kept", "true"]);
    assert_eq!(exec.status.code(), Some(126), "{}", said(&exec));
    says_full(&said(&exec));
    server.api().get("/readyz").unwrap().expect(200);
    drop(filler);

    run(&mut server.docker(&["exec", "kept", "true"]));
    let well = docker(&["run", "--rm", &image, "echo", "well"]);
    assert_eq!(String::from_utf8_lossy(&well.stdout), "well\n");
    let dockerfile = format!("FROM {image}\nRUN echo fits > /file\n");
    let id = submit(&server, "", context(&[("Dockerfile", &dockerfile)]));
    let built = finish(&server, &id);
    assert_eq!(built["state"], "succeeded", "{built}");
    server.remove_containers();
    assert_eq!(run(&mut server.docker(&["ps", "-aq"])), "");
    server.expect_no_container();
}
