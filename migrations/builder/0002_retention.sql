-- Milliseconds since the Unix epoch at which a build last found the record;
-- exact to a minute. The least recently used are removed first.
ALTER TABLE cache_records ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
UPDATE cache_records SET used_at = created_at;
