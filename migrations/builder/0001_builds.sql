-- Queue and history of builds. Owner: crate `builder`, module `db`.

CREATE TABLE builds (
    id               TEXT    NOT NULL PRIMARY KEY,
    state            TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- BuildOptions as JSON: written once, never queried by field.
    options          TEXT    NOT NULL,
    created_by       TEXT    NOT NULL,
    -- Bearer token narrowed to this build; cleared when the build ends.
    registry_token   TEXT,
    -- Milliseconds since the Unix epoch.
    created_at       BIGINT  NOT NULL,
    started_at       BIGINT,
    ended_at         BIGINT,
    -- How often a worker has started it; more than one after a restart.
    attempt          BIGINT  NOT NULL DEFAULT 0,
    cancel_requested BIGINT  NOT NULL DEFAULT 0,
    digest           TEXT,
    -- BuildFailure as JSON.
    error            TEXT
);

CREATE INDEX builds_by_state ON builds (state, created_at, id);
CREATE INDEX builds_by_age ON builds (created_at DESC, id DESC);

-- Log of a build in order; `seq` starts at 1 and has no holes.
CREATE TABLE build_events (
    build_id TEXT    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq      BIGINT  NOT NULL,
    -- Event as JSON.
    body     TEXT    NOT NULL,
    PRIMARY KEY (build_id, seq)
);

-- Names of layers in the layer store, so that a rename touches one row.
CREATE TABLE cache_layers (
    id         INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    -- 0 for layers of base images, whose age is not ours to tell.
    made_here  BIGINT  NOT NULL
);

CREATE INDEX cache_layers_by_name ON cache_layers (name);

-- One executed step: what the keys that lead to it produce.
CREATE TABLE cache_records (
    id           INTEGER NOT NULL PRIMARY KEY,
    -- What dependents mix into their own keys.
    identity     BLOB    NOT NULL,
    -- Number of outputs, an output may have no layer at all.
    outputs      BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL
);

-- Definition keys and content keys alike.
CREATE TABLE cache_keys (
    cache_key BLOB    NOT NULL PRIMARY KEY,
    record_id INTEGER NOT NULL REFERENCES cache_records (id) ON DELETE CASCADE
);

CREATE INDEX cache_keys_by_record ON cache_keys (record_id);

CREATE TABLE cache_outputs (
    record_id INTEGER NOT NULL REFERENCES cache_records (id) ON DELETE CASCADE,
    output    BIGINT  NOT NULL,
    -- 0 is the lowest layer.
    position  BIGINT  NOT NULL,
    layer_id  INTEGER NOT NULL REFERENCES cache_layers (id),
    PRIMARY KEY (record_id, output, position)
);

CREATE INDEX cache_outputs_by_layer ON cache_outputs (layer_id);

-- Compressed forms of layers that are known, by the digest of their tar.
CREATE TABLE layer_blobs (
    diff_id    TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    media_type TEXT    NOT NULL,
    size_bytes BIGINT  NOT NULL,
    -- Where it was pulled from, `registry/repository`; NULL when it was made here.
    origin     TEXT,
    PRIMARY KEY (diff_id, digest)
);
