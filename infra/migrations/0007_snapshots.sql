-- What a stream came to up to one of its entries, sealed under all the keys of those entries
-- (infra/snapshots.py). A cache: whoever finds none here, or one of no use, reads the stream whole.
-- `keys` are those keys' ids: when one of them is destroyed the row is unreadable, and goes.

CREATE TABLE rapport.snapshots (
    clinic  uuid   NOT NULL,
    stream  text   COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    format  text   COLLATE "C" NOT NULL,
    keys    uuid[] NOT NULL CHECK (cardinality(keys) > 0),
    sealed  bytea  NOT NULL,
    PRIMARY KEY (clinic, stream)
) /*partition by clinic*/;

-- Ciphertext does not get smaller by trying.
ALTER TABLE rapport.snapshots ALTER COLUMN sealed SET STORAGE EXTERNAL;

ALTER TABLE rapport.snapshots ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_clinic ON rapport.snapshots USING
    (clinic = nullif(current_setting('rapport.clinic', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON rapport.snapshots TO rapport_app, rapport_import;
