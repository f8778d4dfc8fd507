-- Tables of the engine. Owned by the crate `engine`; SQLite only, since an
-- engine's state is about one host.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- An image: its configuration and manifest byte for byte as they were received.
CREATE TABLE images (
    id                  TEXT PRIMARY KEY,   -- digest of the configuration
    config              BLOB NOT NULL,
    manifest            BLOB NOT NULL,
    manifest_media_type TEXT NOT NULL,
    manifest_digest     TEXT NOT NULL,
    size_bytes          INTEGER NOT NULL,   -- of all layers, unpacked
    created_at          TEXT NOT NULL       -- when this engine got it
) STRICT;

CREATE TABLE image_layers (
    image_id   TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,            -- lowest layer is 0
    diff_id    TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,            -- unpacked
    PRIMARY KEY (image_id, position)
) STRICT;
CREATE INDEX image_layers_diff_id ON image_layers (diff_id);

-- `registry/repository:tag` to image.
CREATE TABLE image_tags (
    reference TEXT PRIMARY KEY,
    image_id  TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    tagged_at TEXT NOT NULL
) STRICT;
CREATE INDEX image_tags_image ON image_tags (image_id);

-- `registry/repository@digest` under which the image is known to a registry.
CREATE TABLE image_digests (
    reference TEXT PRIMARY KEY,
    image_id  TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX image_digests_image ON image_digests (image_id);

CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    labels     TEXT NOT NULL,               -- JSON object
    anonymous  INTEGER NOT NULL
) STRICT;

-- What the user asked for, and the last state that was seen.
CREATE TABLE containers (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    created_at    TEXT NOT NULL,
    image_id      TEXT NOT NULL,
    config        TEXT NOT NULL,            -- JSON of the Docker type
    host_config   TEXT NOT NULL,            -- JSON of the Docker type
    mounts        TEXT NOT NULL,            -- JSON list, volumes resolved
    network       TEXT NOT NULL,            -- JSON: address, ports
    state         TEXT NOT NULL,            -- JSON
    restart_count INTEGER NOT NULL,
    stopped       INTEGER NOT NULL          -- the user stopped it: no policy restarts it
) STRICT;
CREATE INDEX containers_image ON containers (image_id);
