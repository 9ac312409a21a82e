-- What the log signed, and what others vouched for (docs/operate/witnesses.md). Evidence is
-- added and never changed; what is merely remembered (how a witness was last reached) is not.

-- `origin` is the log's name, which changes when a restored log goes on under a new key: under one
-- origin there is one note for a size, whoever comes first.
CREATE TABLE rapport.checkpoints (
    clinic    uuid        NOT NULL,
    origin    text        COLLATE "C" NOT NULL,
    size      bigint      NOT NULL CHECK (size > 0),
    note      text        NOT NULL CHECK (octet_length(note) <= 65536),
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (clinic, origin, size)
) /*partition by clinic*/;

-- `witness` is its whole verifier key, so a row can be checked by itself. `line` has its newline.
CREATE TABLE rapport.cosignatures (
    clinic      uuid        NOT NULL,
    origin      text        COLLATE "C" NOT NULL,
    size        bigint      NOT NULL,
    witness     text        COLLATE "C" NOT NULL,
    line        text        NOT NULL CHECK (octet_length(line) <= 4096),
    cosigned_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (clinic, origin, size, witness)
) /*partition by clinic*/;

-- RFC 3161 over the note: the token alone, in DER.
CREATE TABLE rapport.timestamps (
    clinic      uuid        NOT NULL,
    origin      text        COLLATE "C" NOT NULL,
    size        bigint      NOT NULL,
    token       bytea       NOT NULL CHECK (octet_length(token) <= 65536),
    stamped_at  timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (clinic, origin, size)
) /*partition by clinic*/;

-- One row per witness, and one for the timestamp authority. `size` is how far it said to be.
CREATE TABLE rapport.witness_states (
    clinic   uuid        NOT NULL,
    origin   text        COLLATE "C" NOT NULL,
    witness  text        COLLATE "C" NOT NULL,
    size     bigint      NOT NULL,
    failures integer     NOT NULL,
    failure  text        NOT NULL,
    tried_at timestamptz NOT NULL,
    retry_at timestamptz NOT NULL,
    PRIMARY KEY (clinic, origin, witness)
) /*partition by clinic*/;

-- `source` is a witness's verifier key, or `log`: what this log found in itself. `told` is the size
-- that a witness told. At most one alarm of a source stands; cleared ones stay.
CREATE TABLE rapport.alarms (
    clinic     uuid        NOT NULL,
    alarm      uuid        NOT NULL,
    origin     text        COLLATE "C" NOT NULL,
    source     text        COLLATE "C" NOT NULL,
    code       text        NOT NULL,
    size       bigint      NOT NULL,
    told       bigint,
    raised_at  timestamptz NOT NULL,
    cleared_at timestamptz,
    cleared_by uuid,
    PRIMARY KEY (clinic, alarm)
) /*partition by clinic*/;

CREATE UNIQUE INDEX one_alarm_stands ON rapport.alarms (clinic, source) WHERE cleared_at IS NULL;

DO $$
DECLARE
    tab text;
    part regclass;
BEGIN
    FOREACH tab IN ARRAY ARRAY['checkpoints', 'cosignatures', 'timestamps'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON rapport.%I '
                       'FOR EACH ROW EXECUTE FUNCTION rapport.refuse_change()', tab);
    END LOOP;
    CREATE TRIGGER alarm_stays BEFORE DELETE ON rapport.alarms
        FOR EACH ROW EXECUTE FUNCTION rapport.refuse_change();
    FOR part IN
        SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'rapport' AND c.relkind IN ('r', 'p')
          AND c.relname ~ '^(checkpoints|cosignatures|timestamps|alarms)(_p[0-9]+)?$'
    LOOP
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION rapport.refuse_change()', part);
    END LOOP;
    FOREACH tab IN ARRAY
        ARRAY['checkpoints', 'cosignatures', 'timestamps', 'witness_states', 'alarms']
    LOOP
        EXECUTE format('ALTER TABLE rapport.%I ENABLE ROW LEVEL SECURITY', tab);
        EXECUTE format('CREATE POLICY own_clinic ON rapport.%I USING '
                       '(clinic = nullif(current_setting(''rapport.clinic'', true), '''')::uuid)',
                       tab);
        EXECUTE format('GRANT SELECT ON rapport.%I TO rapport_app, rapport_import, '
                       'rapport_views, rapport_read', tab);
        EXECUTE format('GRANT INSERT ON rapport.%I TO rapport_app', tab);
    END LOOP;
END $$;

GRANT UPDATE (size, failures, failure, tried_at, retry_at) ON rapport.witness_states TO rapport_app;

-- An alarm is cleared once and for all: its row is then out of reach of every UPDATE.
CREATE POLICY cleared_stays ON rapport.alarms AS RESTRICTIVE FOR UPDATE
    USING (cleared_at IS NULL) WITH CHECK (cleared_at IS NOT NULL);
GRANT UPDATE (cleared_at, cleared_by) ON rapport.alarms TO rapport_app;
