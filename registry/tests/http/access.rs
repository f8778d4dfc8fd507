//! Who may do what: challenges, tokens, and every route by every kind of caller.

use std::time::Duration;

use http::HeaderMap;
use oci::{Digest, Repository};
use serde_json::json;

use crate::harness::{PASSWORD, Server, basic, noise, send};

#[tokio::test]
async fn anonymous_callers_get_a_challenge_they_can_answer() {
    let server = Server::start().await;
    let realm = format!(
        "Bearer realm=\"{}\",service=\"carrack\"",
        server.url("/auth/token")
    );
    let answer = send(server.plain("GET", "/v2/")).await.expect(401);
    assert_eq!(answer.header("www-authenticate"), realm);
    assert_eq!(answer.code(), "UNAUTHORIZED");
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    let answer = send(server.plain("GET", "/v2/a/b/tags/list"))
        .await
        .expect(401);
    let scoped = format!("{realm},scope=\"repository:a/b:pull\"");
    assert_eq!(answer.header("www-authenticate"), scoped);
    let answer = send(server.plain("POST", "/v2/a/blobs/uploads/"))
        .await
        .expect(401);
    let scoped = format!("{realm},scope=\"repository:a:pull,push\"");
    assert_eq!(answer.header("www-authenticate"), scoped);
    let catalog = send(server.plain("GET", "/v2/_catalog")).await.expect(401);
    let scoped = format!("{realm},scope=\"registry:catalog:*\"");
    assert_eq!(catalog.header("www-authenticate"), scoped);
    // A Host that would break out of the quotes is not repeated.
    let odd = server.plain("GET", "/v2/").header("host", "a\"b");
    let answer = send(odd).await;
    assert!(!answer.header("www-authenticate").contains("a\"b"));
}

/// A mount reads its source: the token that the challenge asks for is good for both.
#[tokio::test]
async fn the_challenge_of_a_mount_names_its_source() {
    let server = Server::start().await;
    let bytes = noise(3, 70_000);
    let digest = server.push_blob("team/base", &bytes).await;
    let scope_for = async |query: &str, token: Option<&str>| {
        let path = format!("/v2/app/blobs/uploads/{query}");
        let request = match token {
            None => server.plain("POST", &path),
            Some(token) => server.bearer("POST", &path, token),
        };
        let answer = send(request).await.expect(401);
        let header = answer.header("www-authenticate");
        let (_, rest) = header.split_once("scope=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let own = "repository:app:pull,push";
    let both = "repository:app:pull,push repository:team/base:pull";
    let mount = format!("?mount={digest}&from=team/base");
    assert_eq!(scope_for(&mount, None).await, both);
    // Tokens that are valid but too narrow, and one that is not valid at all.
    let pull = server.token(&["repository:app:pull"]).await;
    assert_eq!(scope_for(&mount, Some(&pull)).await, both);
    assert_eq!(scope_for(&mount, Some("invalid")).await, both);
    // No mount, no second repository, or a name that cannot be one.
    for query in [
        "".to_owned(),
        "?from=team/base".to_owned(),
        format!("?mount={digest}"),
        format!("?mount={digest}&from=app"),
        format!("?mount={digest}&from=a%22b"),
    ] {
        assert_eq!(scope_for(&query, None).await, own, "{query}");
    }
    let scopes: Vec<_> = both.split(' ').collect();
    let token = server.token(&scopes).await;
    let path = format!("/v2/app/blobs/uploads/{mount}");
    send(server.bearer("POST", &path, &token)).await.expect(201);
}

#[tokio::test]
async fn tokens_by_get_and_post_and_refresh() {
    let server = Server::start().await;
    let path = "/auth/token?service=carrack&scope=repository:a:pull,push&offline_token=true";
    let answer = send(server.admin("GET", path)).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["scope"], "repository:a:pull,push");
    assert!(body["expires_in"].as_u64().unwrap() >= 60);
    let refresh = body["refresh_token"].as_str().unwrap();
    let token = body["token"].as_str().unwrap();
    send(server.bearer("POST", "/v2/a/blobs/uploads/", token))
        .await
        .expect(202);

    let form = async |fields: &[(&str, &str)]| {
        let body: Vec<_> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = server
            .plain("POST", "/auth/token")
            .header("content-type", "application/x-www-form-urlencoded");
        send(request.body(body.join("&").replace(' ', "+"))).await
    };
    let password = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", PASSWORD),
    ];
    let scopes = ("scope", "repository:a:pull repository:b:*");
    let body = form(&[&password[..], &[scopes]].concat()).await;
    let body = body.expect(200).json();
    assert_eq!(
        body["scope"],
        "repository:a:pull repository:b:pull,push,delete"
    );
    assert!(body["refresh_token"].is_null());
    let again = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let answer = form(&[&again[..], &[("scope", "repository:a:pull")]].concat())
        .await
        .expect(200);
    assert_eq!(answer.json()["refresh_token"], refresh);

    let wrong = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", "wrong"),
    ];
    form(&wrong).await.expect(401);
    form(&[("grant_type", "refresh_token"), ("refresh_token", "wrong")])
        .await
        .expect(401);
    form(&[("grant_type", "client_credentials")])
        .await
        .expect(400);
    form(&[&password[..], &[("service", "other")]].concat())
        .await
        .expect(400);
    // A refresh token is no bearer token, and the other way round.
    send(server.bearer("GET", "/v2/", refresh))
        .await
        .expect(401);
    form(&[("grant_type", "refresh_token"), ("refresh_token", token)])
        .await
        .expect(401);
    send(server.bearer("GET", "/auth/token?scope=repository:b:push", token))
        .await
        .expect(401);
    let wrong = server
        .plain("GET", "/auth/token")
        .basic_auth("admin", Some("wrong"));
    let answer = send(wrong).await.expect(401);
    assert!(answer.header("www-authenticate").starts_with("Basic "));
}

#[tokio::test]
async fn a_new_password_ends_refresh_tokens() {
    let server = Server::start().await;
    let answer = send(server.admin("GET", "/auth/token?offline_token=true"))
        .await
        .expect(200);
    let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let directory = server.stop().await;
    let mut config = registry::RegistryConfig::new(directory.path().join("registry"));
    config.admin_password = Some("another".to_owned());
    let registry = registry::Registry::open(config).await.unwrap();
    assert_eq!(registry.generated_admin_password(), None);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", basic("admin", PASSWORD).parse().unwrap());
    assert!(registry.authenticate(&headers).await.is_err());
    headers.insert("authorization", basic("admin", "another").parse().unwrap());
    assert_eq!(
        registry.authenticate(&headers).await.unwrap().name(),
        "admin"
    );
    registry.shutdown().await;
    // The harness sets its own password again, which is a change too.
    let server = Server::start_in(directory).await;
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    send(server.plain("POST", "/auth/token").body(form))
        .await
        .expect(401);
}

#[tokio::test]
async fn the_first_start_makes_a_password_once() {
    let directory = tempfile::tempdir().unwrap();
    let config = || registry::RegistryConfig::new(directory.path());
    let registry = registry::Registry::open(config()).await.unwrap();
    let password = registry.generated_admin_password().unwrap();
    assert_eq!(password.len(), 24);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", basic("admin", &password).parse().unwrap());
    assert!(registry.authenticate(&headers).await.is_ok());
    registry.shutdown().await;
    let registry = registry::Registry::open(config()).await.unwrap();
    assert_eq!(registry.generated_admin_password(), None);
    assert!(registry.authenticate(&headers).await.is_ok());
    registry.shutdown().await;
}

/// G1: every route by every kind of caller.
#[tokio::test]
async fn the_access_matrix() {
    let server = Server::start().await;
    let bytes = noise(1, 70_000);
    let blob = server.push_blob("own", &bytes).await;
    let manifest = server.push_image("own", "v1", b"layer").await;
    let upload = server.start_upload("own").await;
    let id = upload.rsplit('/').next().unwrap();
    let (d, absent) = (Digest::sha256(&manifest), Digest::sha256(b"absent"));
    let routes = [
        ("GET", "/v2/".to_owned(), ""),
        ("GET", "/v2/_catalog".to_owned(), "catalog"),
        ("GET", format!("/v2/own/blobs/{blob}"), "pull"),
        ("HEAD", format!("/v2/own/blobs/{blob}"), "pull"),
        ("GET", "/v2/own/manifests/v1".to_owned(), "pull"),
        ("HEAD", format!("/v2/own/manifests/{d}"), "pull"),
        ("GET", "/v2/own/tags/list".to_owned(), "pull"),
        ("GET", format!("/v2/own/referrers/{d}"), "pull"),
        ("POST", "/v2/own/blobs/uploads/".to_owned(), "push"),
        ("GET", format!("/v2/own/blobs/uploads/{id}"), "push"),
        ("PATCH", format!("/v2/own/blobs/uploads/{id}"), "push"),
        ("PUT", "/v2/own/manifests/v2".to_owned(), "push"),
        ("DELETE", format!("/v2/own/manifests/{absent}"), "delete"),
        ("DELETE", format!("/v2/own/blobs/{absent}"), "delete"),
        ("PUT", format!("/v2/own/blobs/uploads/{id}"), "push"),
        ("DELETE", format!("/v2/own/blobs/uploads/{id}"), "push"),
    ];
    let callers = [
        ("anonymous", None, &[][..]),
        ("no scope", Some(server.token(&[]).await), &[][..]),
        (
            "pull",
            Some(server.token(&["repository:own:pull"]).await),
            &["pull"][..],
        ),
        (
            "push",
            Some(server.token(&["repository:own:push"]).await),
            &["push"][..],
        ),
        (
            "delete",
            Some(server.token(&["repository:own:delete"]).await),
            &["delete"][..],
        ),
        (
            "other",
            Some(server.token(&["repository:other:*"]).await),
            &[][..],
        ),
        (
            "prefix",
            Some(server.token(&["repository:own/x:*"]).await),
            &[][..],
        ),
        (
            "catalog",
            Some(server.token(&["registry:catalog:*"]).await),
            &["catalog"][..],
        ),
    ];
    for (method, path, needs) in &routes {
        for (name, token, may) in &callers {
            let request = server.plain(method, path);
            let request = match token {
                None => request,
                Some(token) => request.bearer_auth(token),
            };
            let answer = send(request).await;
            let allowed = may.contains(needs) || (needs.is_empty() && token.is_some());
            assert_eq!(
                answer.status != 401,
                allowed,
                "{name}: {method} {path}: {}",
                answer.status
            );
        }
    }
}

/// G2: what may not be seen looks like what is not there.
#[tokio::test]
async fn a_private_blob_cannot_be_probed_from_elsewhere() {
    let server = Server::start().await;
    let bytes = noise(2, 70_000);
    let known = server.push_blob("private", &bytes).await;
    let unknown = Digest::sha256(b"unknown");
    let token = server.token(&["repository:mine:pull,push"]).await;
    let mut seen = Vec::new();
    for digest in [known, unknown] {
        for query in [
            format!("?mount={digest}&from=private"),
            format!("?mount={digest}&from=absent"),
            format!("?mount={digest}&from=../private"),
            format!("?mount={digest}"),
        ] {
            let path = format!("/v2/mine/blobs/uploads/{query}");
            let answer = send(server.bearer("POST", &path, &token)).await.expect(202);
            assert!(answer.body.is_empty());
        }
        let path = format!("/v2/mine/blobs/{digest}");
        let answer = send(server.bearer("GET", &path, &token)).await.expect(404);
        seen.push(answer.json().to_string().replace(&digest.to_string(), "D"));
    }
    assert_eq!(seen[0], seen[1]);
    // With pull on the source it is mounted.
    let both = server
        .token(&["repository:mine:pull,push", "repository:private:pull"])
        .await;
    let path = format!("/v2/mine/blobs/uploads/?mount={known}&from=private");
    send(server.bearer("POST", &path, &both)).await.expect(201);
}

/// G5: an upload belongs to its repository and caller.
#[tokio::test]
async fn uploads_of_others_do_not_exist() {
    let server = Server::start().await;
    let upload = server.start_upload("a").await;
    let id = upload.rsplit('/').next().unwrap();
    // A token of an anonymous caller cannot push, so another caller is a job
    // whose name differs: the repository is what is left to differ here.
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let path = format!("/v2/b/blobs/uploads/{id}?digest={}", Digest::sha256(b""));
        let answer = send(server.admin(method, &path)).await.expect(404);
        if method != "GET" {
            assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN");
        }
    }
    send(server.admin("GET", &upload)).await.expect(204);
}

#[tokio::test]
async fn job_tokens_are_narrow() {
    let server = Server::start().await;
    server.push_image("base/os", "1", b"layer").await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", basic("admin", PASSWORD).parse().unwrap());
    let admin = server.registry.authenticate(&headers).await.unwrap();
    let push = [Repository::parse("team/app").unwrap()];
    let token = server
        .registry
        .job_token(&admin, &push, Duration::from_secs(60));
    let status = async |method: &str, path: &str| {
        send(server.bearer(method, path, &token))
            .await
            .status
            .as_u16()
    };
    assert_eq!(status("GET", "/v2/base/os/manifests/1").await, 200);
    assert_eq!(status("POST", "/v2/team/app/blobs/uploads/").await, 202);
    assert_eq!(status("POST", "/v2/base/os/blobs/uploads/").await, 401);
    assert_eq!(status("DELETE", "/v2/base/os/manifests/1").await, 401);
    assert_eq!(status("GET", "/v2/_catalog").await, 401);
    // It names its caller, and cannot make itself wider.
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let job = server.registry.authenticate(&headers).await.unwrap();
    assert_eq!((job.name(), job.is_anonymous()), ("admin", false));
    let other = [Repository::parse("other").unwrap()];
    let wider = server
        .registry
        .job_token(&job, &other, Duration::from_secs(60));
    let path = "/v2/other/blobs/uploads/";
    send(server.bearer("POST", path, &wider)).await.expect(401);
    // Nobody's job may do nothing.
    let nobody = server
        .registry
        .authenticate(&HeaderMap::new())
        .await
        .unwrap();
    assert!(nobody.is_anonymous());
    let token = server
        .registry
        .job_token(&nobody, &other, Duration::from_secs(60));
    send(server.bearer("POST", path, &token)).await.expect(401);
    send(server.bearer("GET", "/v2/base/os/manifests/1", &token))
        .await
        .expect(401);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_refused() {
    let server = Server::start().await;
    for (header, status) in [
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic YWRtaW4=", 401),
        (basic("admin", "").as_str(), 401),
        (basic("", PASSWORD).as_str(), 401),
        (basic("ADMIN", PASSWORD).as_str(), 401),
        ("Digest x", 401),
        ("Bearer ", 401),
        (format!("Bearer {}", ".".repeat(16_000)).as_str(), 401),
        (format!("Bearer {}", "x".repeat(17_000)).as_str(), 431),
    ] {
        let request = server.plain("GET", "/v2/").header("authorization", header);
        let answer = send(request).await.expect(status);
        assert_eq!(answer.code(), "UNAUTHORIZED");
    }
    let two = server
        .admin("GET", "/v2/")
        .header("authorization", "Bearer x");
    send(two).await.expect(401);
    assert_eq!(server.get("/v2/").await.expect(200).json(), json!({}));
}

/// Many wrong passwords at once are told to come back; right ones that are
/// remembered still pass.
#[tokio::test]
async fn guessing_does_not_lock_others_out() {
    let server = Server::start().await;
    server.get("/v2/").await.expect(200);
    let guesses: Vec<_> = (0..100)
        .map(|n| {
            let request = server
                .plain("GET", "/v2/")
                .basic_auth("admin", Some(n.to_string()));
            tokio::spawn(send(request))
        })
        .collect();
    server.get("/v2/").await.expect(200);
    let mut refused = (0, 0);
    for guess in guesses {
        match guess.await.unwrap().status.as_u16() {
            401 => refused.0 += 1,
            429 => refused.1 += 1,
            other => panic!("{other}"),
        }
    }
    assert!(refused.0 > 0 && refused.1 > 0, "{refused:?}");
}
