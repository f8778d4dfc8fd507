use clap::Parser;
use time::macros::datetime;

use super::*;

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    images: Images,
}

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
    ImageSummary {
        id: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
        created: 1_769_853_600,
        size: 4_261_502,
        shared_size: -1,
        containers: -1,
        repo_tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        repo_digests: digests.iter().map(|t| (*t).to_owned()).collect(),
        ..ImageSummary::default()
    }
}

fn table(arguments: &[&str], images: &[ImageSummary]) -> String {
    let command = std::iter::once(&"images").chain(arguments);
    let command = Line::try_parse_from(command).unwrap().images;
    let rows = images
        .iter()
        .flat_map(|image| command.rows(image, NOW))
        .collect();
    let listing = if command.digests {
        IMAGES_WITH_DIGEST
    } else {
        IMAGES
    };
    listing.render(command.format.as_deref(), rows).unwrap()
}

#[test]
fn one_row_for_each_name() {
    let images = [
        image(
            &["busybox:latest", "127.0.0.1:5000/team/app:1"],
            &["busybox@sha256:aa"],
        ),
        image(&[], &["busybox@sha256:bb"]),
        image(&["<none>:<none>"], &["<none>@<none>"]),
        image(&[], &[]),
    ];
    insta::assert_snapshot!(table(&[], &images), @r"
    REPOSITORY                TAG       IMAGE ID       CREATED       SIZE
    busybox                   latest    0123456789ab   2 hours ago   4.26MB
    127.0.0.1:5000/team/app   1         0123456789ab   2 hours ago   4.26MB
    busybox                   <none>    0123456789ab   2 hours ago   4.26MB
    <none>                    <none>    0123456789ab   2 hours ago   4.26MB
    <none>                    <none>    0123456789ab   2 hours ago   4.26MB
    ");
    insta::assert_snapshot!(table(&["--digests"], &images[..2]), @r"
    REPOSITORY                TAG       DIGEST      IMAGE ID       CREATED       SIZE
    busybox                   latest    sha256:aa   0123456789ab   2 hours ago   4.26MB
    127.0.0.1:5000/team/app   1         <none>      0123456789ab   2 hours ago   4.26MB
    busybox                   <none>    sha256:bb   0123456789ab   2 hours ago   4.26MB
    ");
    let format = [
        "--no-trunc",
        "--format",
        "{{.Repository}}:{{.Tag}} {{.Containers}} {{.UniqueSize}} {{slice .ID 0 15}}",
    ];
    assert_eq!(
        table(&format, &images[3..]),
        "<none>:<none> N/A N/A sha256:01234567\n"
    );
}
