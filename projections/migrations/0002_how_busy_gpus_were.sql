-- Executions show how busy their GPUs were, and agents which of them are out of service. What was
-- projected before serves on, and a rebuild is asked for, so that new generations take its place:
-- also where one was cut off in the middle. Whoever still works on one holds its lock.

DO $$
DECLARE
    generation text;
BEGIN
    FOR generation IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^executions_g[0-9]+$'
    LOOP
        EXECUTE format(
            'ALTER TABLE %I.executions ADD COLUMN gpu_utilisation double precision', generation
        );
    END LOOP;
END
$$;

INSERT INTO hermes.rebuilds (projection, status)
SELECT name, 'requested' FROM hermes.projections WHERE name IN ('agents', 'executions')
ON CONFLICT (projection) DO UPDATE SET
    status = 'requested', events_done = 0, events_total = 0, rows_compared = 0,
    differences = 0, examples = NULL, verified = false, error = NULL;
