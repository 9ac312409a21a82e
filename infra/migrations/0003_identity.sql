-- Who may knock: bearer tokens. `authenticator` binds a secret to the rest of the row under a key
-- that the database does not have: a row that is made up or changed opens no door.

CREATE TABLE rapport.tokens (
    clinic        uuid        NOT NULL,
    token_id      uuid        NOT NULL,
    authenticator bytea       NOT NULL CHECK (octet_length(authenticator) = 32),
    principal     uuid        NOT NULL,
    role          text        NOT NULL,
    purpose       text        NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    PRIMARY KEY (clinic, token_id)
) /*partition by clinic*/;

ALTER TABLE rapport.tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_clinic ON rapport.tokens
    USING (clinic = nullif(current_setting('rapport.clinic', true), '')::uuid);
-- A token is revoked once and for all: its row is then out of reach of every UPDATE.
CREATE POLICY revoked_stays ON rapport.tokens AS RESTRICTIVE FOR UPDATE
    USING (revoked_at IS NULL) WITH CHECK (revoked_at IS NOT NULL);
GRANT SELECT, INSERT, UPDATE (revoked_at) ON rapport.tokens TO rapport_app;
