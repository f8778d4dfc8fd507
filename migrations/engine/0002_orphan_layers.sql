-- Layers that this engine brought into the layer store and that no image has:
-- written before the layer is fetched and in the transaction that deletes its
-- last image, so that no crash makes one forgotten.
CREATE TABLE orphan_layers (
    diff_id TEXT PRIMARY KEY,
    origin  TEXT NOT NULL CHECK (origin IN ('transfer', 'image'))
) STRICT;
