-- Bearer token narrowed to this build, sealed with the key in `token.key`:
-- nonce, ciphertext, tag. Cleared when the build ends. What an earlier version
-- left in `registry_token` is sealed when the service starts; nothing else is
-- written there any more.
ALTER TABLE builds ADD COLUMN sealed_token BLOB;

-- Tells the key that sealed the tokens from any other: something sealed with it.
CREATE TABLE token_key (
    id    BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    proof BLOB   NOT NULL
);
