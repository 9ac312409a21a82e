-- Who may knock: bearer tokens of random secrets, of which only the SHA-256 is kept.

CREATE TABLE rapport.tokens (
    clinic      uuid        NOT NULL,
    token_id    uuid        NOT NULL,
    secret_hash bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    principal   uuid        NOT NULL,
    role        text        NOT NULL,
    purpose     text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    PRIMARY KEY (clinic, token_id)
) /*partition by clinic*/;

ALTER TABLE rapport.tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_clinic ON rapport.tokens
    USING (clinic = nullif(current_setting('rapport.clinic', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE (revoked_at) ON rapport.tokens TO rapport_app;
