use proptest::prelude::*;

use super::*;

const D: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const U: &str = "0f1e2d3c-0000-4000-8000-000000000001";

fn check(request: &str, expected: &str) {
    let (method, path) = request.split_once(' ').unwrap();
    let path = path.replace("$D", D).replace("$U", U);
    let shown = match Endpoint::parse(&method.parse().unwrap(), &path) {
        Ok(found) => {
            let repo = match found.need() {
                Need::Login => "login".to_owned(),
                Need::Catalog => "catalog".to_owned(),
                Need::Repository(repo, action) => format!("{repo} {}", action.as_str()),
            };
            format!("{} {repo}", found.name())
        }
        Err(EndpointError::BadPath) => "bad path".to_owned(),
        Err(EndpointError::Unknown) => "unknown".to_owned(),
        Err(EndpointError::Method { allowed }) => format!("allow {allowed}"),
        Err(EndpointError::Name(_)) => "bad name".to_owned(),
        Err(EndpointError::Tag(_)) => "bad tag".to_owned(),
        Err(EndpointError::Digest(_)) => "bad digest".to_owned(),
        Err(EndpointError::UploadId) => "bad upload".to_owned(),
    };
    assert_eq!(shown, expected, "{request}");
}

#[test]
fn every_endpoint_is_found() {
    check("GET /v2/", "ping login");
    check("GET /v2", "ping login");
    check("HEAD /v2/", "ping login");
    check("GET /v2/_catalog", "catalog catalog");
    check("GET /v2/a/blobs/$D", "blob_get a pull");
    check("HEAD /v2/a/b/c/blobs/$D", "blob_head a/b/c pull");
    check("DELETE /v2/a/blobs/$D", "blob_delete a delete");
    check("GET /v2/a/manifests/latest", "manifest_get a pull");
    check("HEAD /v2/a/manifests/$D", "manifest_head a pull");
    check("PUT /v2/a/manifests/v1.0", "manifest_put a push");
    check("DELETE /v2/a/manifests/v1.0", "manifest_delete a delete");
    check("POST /v2/a/blobs/uploads/", "upload_start a push");
    check("POST /v2/a/blobs/uploads", "upload_start a push");
    check("GET /v2/a/blobs/uploads/$U", "upload_status a push");
    check("PATCH /v2/a/blobs/uploads/$U", "upload_patch a push");
    check("PUT /v2/a/blobs/uploads/$U", "upload_finish a push");
    check("DELETE /v2/a/blobs/uploads/$U", "upload_cancel a push");
    check("GET /v2/a/tags/list", "tags_list a pull");
    check("GET /v2/a/referrers/$D", "referrers a pull");
}

#[test]
fn names_may_look_like_endpoints() {
    check("GET /v2/blobs/manifests/x", "manifest_get blobs pull");
    check("GET /v2/a/tags/tags/list", "tags_list a/tags pull");
    check(
        "GET /v2/manifests/manifests/manifests",
        "manifest_get manifests pull",
    );
    check(
        "POST /v2/a/blobs/uploads/blobs/uploads/",
        "upload_start a/blobs/uploads push",
    );
}

#[test]
fn hostile_paths_are_refused_before_they_are_routed() {
    check("GET v2/", "bad path");
    check("GET //v2/", "bad path");
    check("GET /v2//", "bad path");
    check("GET /v2/%2e%2e/", "bad path");
    check("GET /v2/a%2fb/tags/list", "bad path");
    check("GET /v2/a/../b/tags/list", "bad path");
    check("GET /v2/a/./tags/list", "bad path");
    check("GET /v2/a//tags/list", "bad path");
    check("GET /v2/a\\b/tags/list", "bad path");
    check("GET /v2/a\0/tags/list", "bad path");
    check("GET /v2/\u{e9}/tags/list", "bad path");
    check(
        &format!("GET /v2/{}/tags/list", "a".repeat(2000)),
        "bad path",
    );
    check(
        &format!("GET /v2/{}/tags/list", "a".repeat(256)),
        "bad name",
    );
}

#[test]
fn malformed_parts_are_named() {
    check("GET /v2/A/tags/list", "bad name");
    check("GET /v2/_uploads/tags/list", "bad name");
    check("GET /v2/a./tags/list", "bad name");
    check("GET /v2/a/manifests/.x", "bad tag");
    check("GET /v2/a/manifests/sha256:abc", "bad digest");
    check(
        &format!("GET /v2/a/blobs/{}", D.to_uppercase().replace("SHA", "sha")),
        "bad digest",
    );
    check("GET /v2/a/blobs/md5:aa", "bad digest");
    check("PATCH /v2/a/blobs/uploads/1", "bad upload");
    check("GET /v2/a/nothing/x", "unknown");
    check("GET /v2/a", "unknown");
    check("GET /v3/a/b/c", "unknown");
    check("POST /v2/a/tags/list", "allow GET");
    check("PATCH /v2/a/manifests/x", "allow GET, HEAD, PUT, DELETE");
}

proptest! {
    #[test]
    fn no_path_panics(path in "\\PC{0,80}") {
        drop(Endpoint::parse(&Method::GET, &path));
    }

    #[test]
    fn what_parses_is_spelled_one_way(
        name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}",
        tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}",
    ) {
        let path = format!("/v2/{name}/manifests/{tag}");
        let expected = Endpoint::ManifestGet(
            Repository::parse(&name).unwrap(),
            ManifestKey::Tag(Tag::parse(&tag).unwrap()),
        );
        prop_assert_eq!(Endpoint::parse(&Method::GET, &path), Ok(expected));
    }
}
