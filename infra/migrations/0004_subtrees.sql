-- Hashes of the Merkle tree that proofs and tiles begin from (docs/formats/log.md). Derived from
-- rapport.entries and nothing else: whatever is missing is computed, whatever is given out is held
-- against a signed root first. The owner may delete rows at any time, and they are filled again.

-- `level` counts in heights of eight: at level 1 a row is the root over 256 entries, at level 2
-- over 65,536. The hash of row `index` covers the leaves from index * 256^level on.
CREATE TABLE rapport.subtrees (
    clinic uuid    NOT NULL,
    level  integer NOT NULL CHECK (level BETWEEN 1 AND 7),
    index  bigint  NOT NULL CHECK (index >= 0),
    hash   bytea   NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (clinic, level, index)
) /*partition by clinic*/;

ALTER TABLE rapport.subtrees ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_clinic ON rapport.subtrees
    USING (clinic = nullif(current_setting('rapport.clinic', true), '')::uuid);
GRANT SELECT ON rapport.subtrees TO rapport_app, rapport_import, rapport_views, rapport_read;
GRANT INSERT ON rapport.subtrees TO rapport_views;
