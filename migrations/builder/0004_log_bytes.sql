-- Bytes of the bodies of a build's events, kept with each append: adding up the
-- events themselves would read all logs.
ALTER TABLE builds ADD COLUMN log_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE builds SET log_bytes = (
    SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM build_events WHERE build_id = builds.id
);
