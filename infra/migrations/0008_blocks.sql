-- Rows of views stand in blocks from here on (docs/formats/view.md). Their tables are disposable:
-- the first worker makes them anew and folds the log again.

DO $$
DECLARE
    tab text;
BEGIN
    FOR tab IN SELECT tablename FROM pg_tables WHERE schemaname = 'views' LOOP
        EXECUTE format('DROP TABLE views.%I', tab);
    END LOOP;
END $$;

DELETE FROM rapport.tracking;
DELETE FROM rapport.parked;
DELETE FROM rapport.folded;
