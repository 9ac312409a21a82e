-- Where the views stand. The tables of the views themselves are made, dropped and rebuilt by
-- projections/ in the schema `views`: they are disposable, these positions go with them.

CREATE SCHEMA views;
GRANT USAGE, CREATE ON SCHEMA views TO rapport_views;
GRANT USAGE ON SCHEMA views TO rapport_app, rapport_import, rapport_read;

-- `view` is name and version (timeline_v1). `build` names the rows that are read: a rebuild writes
-- others beside them and swaps by changing this row, so no reader ever waits for a table.
CREATE TABLE rapport.tracking (
    clinic   uuid   NOT NULL,
    view     text   NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    build    uuid   NOT NULL,
    PRIMARY KEY (clinic, view)
) /*partition by clinic*/;

-- A relationship that a view could not fold: the view goes on without it and says so.
CREATE TABLE rapport.parked (
    clinic   uuid   NOT NULL,
    view     text   NOT NULL,
    build    uuid   NOT NULL,
    stream   text   NOT NULL,
    position bigint NOT NULL,
    code     text   NOT NULL,
    PRIMARY KEY (clinic, view, build, stream)
) /*partition by clinic*/;

DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['tracking', 'parked'] LOOP
        EXECUTE format('ALTER TABLE rapport.%I ENABLE ROW LEVEL SECURITY', tab);
        EXECUTE format('CREATE POLICY own_clinic ON rapport.%I USING '
                       '(clinic = nullif(current_setting(''rapport.clinic'', true), '''')::uuid)',
                       tab);
        EXECUTE format('GRANT SELECT ON rapport.%I TO rapport_app, rapport_import, rapport_read',
                       tab);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON rapport.%I TO rapport_views', tab);
    END LOOP;
END $$;
