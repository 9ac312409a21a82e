-- The log: append-only, gapless per clinic. docs/formats/entry.md says what the columns mean.

CREATE TABLE rapport.heads (
    clinic      uuid        NOT NULL,
    size        bigint      NOT NULL CHECK (size >= 0),
    root        bytea       NOT NULL CHECK (octet_length(root) = 32),
    frontier    bytea       NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (clinic)
) /*partition by clinic*/;

CREATE TABLE rapport.entries (
    clinic          uuid        NOT NULL,
    position        bigint      NOT NULL CHECK (position > 0),
    stream          text        COLLATE "C" NOT NULL,
    version         bigint      NOT NULL CHECK (version > 0),
    topic           text        NOT NULL,
    schema_version  integer     NOT NULL,
    occurred_at     timestamptz NOT NULL,
    occurred_offset text        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    actor           uuid        NOT NULL,
    on_behalf_of    uuid,
    source          text        NOT NULL,
    command_id      uuid        NOT NULL,
    command_index   integer     NOT NULL,
    key_id          uuid        NOT NULL,
    commitment      bytea       NOT NULL CHECK (octet_length(commitment) = 32),
    ciphertext      bytea       NOT NULL,
    leaf_input      bytea       NOT NULL CHECK (octet_length(leaf_input) <= 16384),
    PRIMARY KEY (clinic, position),
    UNIQUE (clinic, stream, version)
) /*partition by clinic*/;

-- One row per commit: the tree after it. What an acknowledged receipt was given for.
CREATE TABLE rapport.batches (
    clinic      uuid        NOT NULL,
    size        bigint      NOT NULL,
    root        bytea       NOT NULL CHECK (octet_length(root) = 32),
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (clinic, size)
) /*partition by clinic*/;

-- One row per command: the same id again gives the same receipt. body_mac is keyed.
CREATE TABLE rapport.commands (
    clinic         uuid    NOT NULL,
    command_id     uuid    NOT NULL,
    body_mac       bytea   NOT NULL CHECK (octet_length(body_mac) = 32),
    first_position bigint  NOT NULL,
    entries        integer NOT NULL CHECK (entries > 0),
    tree_size      bigint  NOT NULL,
    PRIMARY KEY (clinic, command_id)
) /*partition by clinic*/;

-- Their own search path: nobody's `<=` but PostgreSQL's decides.
CREATE FUNCTION rapport.refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'rapport.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION rapport.head_moves_forward() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.size <> 0 THEN
            RAISE EXCEPTION 'a new log starts empty' USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSIF NEW.clinic <> OLD.clinic OR NEW.size <= OLD.size OR NEW.recorded_at < OLD.recorded_at
    THEN
        RAISE EXCEPTION 'the head of a log moves forward only'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER head_moves_forward BEFORE INSERT OR UPDATE ON rapport.heads
    FOR EACH ROW EXECUTE FUNCTION rapport.head_moves_forward();
CREATE TRIGGER head_stays BEFORE DELETE ON rapport.heads
    FOR EACH ROW EXECUTE FUNCTION rapport.refuse_change();

-- Row triggers on a parent reach its partitions; TRUNCATE of one partition passes the parent's
-- trigger, so every partition gets its own.
DO $$
DECLARE
    tab text;
    part regclass;
BEGIN
    FOREACH tab IN ARRAY ARRAY['entries', 'batches', 'commands'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON rapport.%I '
                       'FOR EACH ROW EXECUTE FUNCTION rapport.refuse_change()', tab);
    END LOOP;
    FOR part IN
        SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'rapport' AND c.relkind IN ('r', 'p')
          AND c.relname ~ '^(heads|entries|batches|commands)(_p[0-9]+)?$'
    LOOP
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION rapport.refuse_change()', part);
    END LOOP;
END $$;

-- Tenancy under the application's own checks: no clinic set, no rows. Append-only by grant too.
DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['heads', 'entries', 'batches', 'commands'] LOOP
        EXECUTE format('ALTER TABLE rapport.%I ENABLE ROW LEVEL SECURITY', tab);
        EXECUTE format('CREATE POLICY own_clinic ON rapport.%I USING '
                       '(clinic = nullif(current_setting(''rapport.clinic'', true), '''')::uuid)',
                       tab);
        EXECUTE format('GRANT SELECT ON rapport.%I TO rapport_app, rapport_import, '
                       'rapport_views, rapport_read', tab);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA rapport TO rapport_app, rapport_import, rapport_views, rapport_read;
GRANT INSERT ON rapport.entries, rapport.batches, rapport.commands TO rapport_app, rapport_import;
GRANT UPDATE (size, root, frontier, recorded_at) ON rapport.heads TO rapport_app, rapport_import;
