-- Registry metadata. One text for SQLite and PostgreSQL (which needs
-- CREATE DOMAIN BLOB AS BYTEA before it). Owned by the registry crate alone.
--
-- Digests are one algorithm byte and the raw hash. Times are Unix microseconds.
-- Ids come from the application. Object keys are random and never reused, so a
-- late physical delete can never hit a blob that was pushed again.

CREATE TABLE orgs (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Only the hash of a refresh token is kept; the token itself cannot be read back.
CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    service TEXT NOT NULL,
    client_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id, last_used_at);

CREATE TABLE repositories (
    id BIGINT NOT NULL PRIMARY KEY,
    org_id BIGINT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    visibility TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_push_at BIGINT NOT NULL
);
CREATE INDEX repositories_by_org ON repositories (org_id, path);

-- Exactly one of object_key and payload is set: small blobs live in the row.
CREATE TABLE blobs (
    digest BLOB NOT NULL PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    object_key TEXT UNIQUE,
    payload BLOB,
    state TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What a repository may serve: an upload or a mount made the link.
CREATE TABLE repo_blobs (
    repo_id BIGINT NOT NULL,
    digest BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repo_id, digest)
);
CREATE INDEX repo_blobs_by_digest ON repo_blobs (digest);

CREATE TABLE manifests (
    id BIGINT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    digest BLOB NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    payload BLOB NOT NULL,
    config_digest BLOB,
    subject_digest BLOB,
    annotations TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (repo_id, digest)
);
-- The referrers API, with paging, also before the subject exists.
CREATE INDEX manifests_by_subject ON manifests (repo_id, subject_digest, id)
    WHERE subject_digest IS NOT NULL;

-- Edges by digest, not id, so that any push order and sparse indexes work.
CREATE TABLE manifest_refs (
    repo_id BIGINT NOT NULL,
    parent_digest BLOB NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT NOT NULL,
    child_digest BLOB NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (repo_id, parent_digest, position)
);
CREATE INDEX manifest_refs_by_child ON manifest_refs (child_digest, repo_id);

CREATE TABLE tags (
    repo_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (repo_id, name)
);
CREATE INDEX tags_by_digest ON tags (repo_id, digest);

CREATE TABLE tag_history (
    id BIGINT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL
);
CREATE INDEX tag_history_by_tag ON tag_history (repo_id, name, id);

-- Sessions of unfinished uploads. hash_state is the hasher's midstate after
-- offset_bytes; it is trusted only within the boot that wrote it.
CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    owner TEXT NOT NULL,
    object_key TEXT NOT NULL,
    offset_bytes BIGINT NOT NULL,
    hash_algorithm TEXT NOT NULL,
    hash_state BLOB,
    boot_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_expiry ON uploads (expires_at);
CREATE INDEX uploads_by_object ON uploads (object_key);
