-- How far the rebuilding of a view has come: the streams of a category past one name, up to and with
-- another, are in the build, folded as of a position. A row commits with the rows of those streams,
-- so that a rebuild that was killed goes on where it was. `keys` is the generation of the keyring
-- when the build began: where keys were destroyed since, it begins anew.

CREATE TABLE rapport.folded (
    clinic   uuid   NOT NULL,
    view     text   NOT NULL,
    build    uuid   NOT NULL,
    category text   NOT NULL,
    past     text   COLLATE "C" NOT NULL,
    upto     text   COLLATE "C" NOT NULL CHECK (upto > past),
    position bigint NOT NULL CHECK (position >= 0),
    keys     bigint NOT NULL,
    PRIMARY KEY (clinic, view, build, past)
) /*partition by clinic*/;

ALTER TABLE rapport.folded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_clinic ON rapport.folded USING
    (clinic = nullif(current_setting('rapport.clinic', true), '')::uuid);
GRANT SELECT ON rapport.folded TO rapport_app, rapport_import, rapport_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON rapport.folded TO rapport_views;
