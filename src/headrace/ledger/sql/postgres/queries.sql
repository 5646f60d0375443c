-- Every statement that the PostgreSQL ledger runs, by name. `postgres_link.py` reads this file.
-- What a turn needs is read and written for a whole batch of turns at once: arrays in, one statement each.

-- name: version
-- The schema's version; null where there is none.
SELECT max(version) FROM schema_version;

-- name: there_is_a_version
SELECT to_regclass('schema_version') IS NOT NULL;

-- name: lock_migration
-- One process migrates, the others wait; by a key of the schema's own.
SELECT pg_advisory_xact_lock($1);

-- name: start_versions
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, since TIMESTAMPTZ NOT NULL DEFAULT now());

-- name: add_version
INSERT INTO schema_version (version) VALUES ($1);

-- name: durable
-- A commit waits for the disk even where the server's own default is not to.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';

-- name: insert_total
-- An empty store, signed off with the key of who made it.
INSERT INTO total (one, facts, conversations, sum, seal, key_check) VALUES (1, 0, 0, $1, $2, $3)
ON CONFLICT DO NOTHING;

-- name: key_check
-- Which key the store was made with.
SELECT key_check FROM total;

-- name: live
-- This worker's sign of life: shared, because after a broken connection the server may still hold the old one.
SELECT pg_advisory_lock_shared($1);

-- name: living
-- The keys of all workers whose connection stands.
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: lock_total
-- First in every writing transaction: chains, heads and the total have one writer at a time, in all processes.
SELECT facts, conversations, sum, seal FROM total FOR UPDATE;

-- name: runs_by_id
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE run = ANY($1::text[]);

-- name: runs_by_keys
-- By the index runs_by_key.
SELECT r.owner, r.idempotency_key, r.run
FROM unnest($1::text[], $2::text[]) AS wanted (owner, key)
JOIN runs r ON r.owner = wanted.owner AND r.idempotency_key = wanted.key;

-- name: open_runs_of_worker
-- By the index runs_open.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE status <> 'ended' AND worker = $1 ORDER BY run;

-- name: open_workers
-- Workers that hold open runs. By the index runs_open.
SELECT DISTINCT worker FROM runs WHERE status <> 'ended';

-- name: heads
-- Where conversations end.
SELECT conversation, owner, count, hash, seal FROM heads WHERE conversation = ANY($1::text[]);

-- name: facts_by_ids
-- The facts that repeated writes return. By the index (conversation, id).
SELECT l.conversation, l.seq, l.id, l.kind, l.content, l.meta, l.time, l.prev_hash, l.hash, l.nuls
FROM unnest($1::text[], $2::text[]) AS wanted (conversation, id)
JOIN ledger l ON l.conversation = wanted.conversation AND l.id = wanted.id;

-- name: write
-- All that a transaction changes, in one journey: facts, heads (new ones are numbered in the order of their first
-- facts), runs that begin, runs that end, the total.
WITH new_facts AS (
    INSERT INTO ledger (conversation, seq, id, kind, content, meta, time, prev_hash, hash, nuls)
    SELECT conversation, seq, id, kind, content, meta, $1, prev_hash, hash, nuls::integer[]
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[]) AS new (conversation, seq, id, kind, content, meta, prev_hash, hash, nuls)
), new_heads AS (
    INSERT INTO heads (conversation, owner, count, hash, seal, created, updated)
    SELECT conversation, owner, count, hash, seal, $1, $1
    FROM unnest($11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[])
        WITH ORDINALITY AS new (conversation, owner, count, hash, seal, place)
    ORDER BY place
    ON CONFLICT (conversation) DO UPDATE
    SET owner = EXCLUDED.owner, count = EXCLUDED.count, hash = EXCLUDED.hash, seal = EXCLUDED.seal,
        updated = EXCLUDED.updated
), new_runs AS (
    INSERT INTO runs (run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome,
        summary, worker, seal)
    SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary, $16,
        seal
    FROM unnest($17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::timestamptz[],
        $24::text[], $25::text[], $26::text[], $27::text[], $28::text[])
        AS new (run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary,
            seal)
), ended AS (
    UPDATE runs SET status = 'ended', outcome = new.outcome, summary = new.summary, seal = new.seal
    FROM unnest($29::text[], $30::text[], $31::text[], $32::text[]) AS new (run, outcome, summary, seal)
    WHERE runs.run = new.run
)
UPDATE total SET facts = $33, conversations = $34, sum = $35, seal = $36;

-- name: facts
-- A page of a conversation, in order. By the index (conversation, seq).
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash, nuls
FROM ledger WHERE conversation = $1 AND seq > $2 AND ($4::text[] IS NULL OR kind = ANY($4)) ORDER BY seq LIMIT $3;

-- name: tail
-- The last facts of a conversation, last first. By the index (conversation, seq), backwards.
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash, nuls
FROM ledger WHERE conversation = $1 AND ($3::text[] IS NULL OR kind = ANY($3)) ORDER BY seq DESC LIMIT $2;

-- name: run_by_key
-- By the index runs_by_key.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE owner = $1 AND idempotency_key = $2;

-- name: runs
-- Newest first, of everybody; ids sort by time.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE ($1::text IS NULL OR run < $1) ORDER BY run DESC LIMIT $2;

-- name: runs_of_owner
-- Newest first, of one owner. By the index runs_of_owner, backwards.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE owner = $3 AND ($1::text IS NULL OR run < $1) ORDER BY run DESC LIMIT $2;

-- name: conversations
-- Newest first, of everybody.
SELECT conversation, owner, count, hash, created, updated
FROM heads WHERE number < coalesce($1, 9223372036854775807) ORDER BY number DESC LIMIT $2;

-- name: conversations_of_owner
-- Newest first, of one owner. By the index heads_of_owner, backwards.
SELECT conversation, owner, count, hash, created, updated
FROM heads WHERE owner = $3 AND number < coalesce($1, 9223372036854775807) ORDER BY number DESC LIMIT $2;

-- name: conversation_number
-- The place of a conversation among all, for paging.
SELECT number FROM heads WHERE conversation = $1;

-- name: next_conversation
-- The name after a name, for export. By the unique index.
SELECT min(conversation) FROM heads WHERE conversation > $1;

-- name: verify_heads
-- Verify: where every conversation ends.
SELECT conversation, owner, count, hash, seal FROM heads ORDER BY number;

-- name: verify_total
-- Verify: the signed-off state of the store.
SELECT facts, conversations, sum, seal FROM total;

-- name: verify_fact
-- Verify: one fact of a page that cannot be read as a whole.
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash, nuls
FROM ledger WHERE conversation = $1 AND seq = $2;

-- name: verify_headless
-- Verify: conversations that have facts and no head.
SELECT DISTINCT conversation FROM ledger l
WHERE NOT EXISTS (SELECT 1 FROM heads h WHERE h.conversation = l.conversation) LIMIT 100;

-- name: verify_runs
-- Verify: a page of runs as they are written, and their seals.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary, seal
FROM runs WHERE run > $1 ORDER BY run LIMIT $2;

-- name: verify_lost_conversations
-- Verify: conversations that runs speak of and that are gone.
SELECT DISTINCT conversation FROM runs r
WHERE NOT EXISTS (SELECT 1 FROM heads h WHERE h.conversation = r.conversation) LIMIT 100;

-- name: verify_open_runs
-- Verify: how many runs have no ending yet. By the index runs_open.
SELECT count(*) FROM runs WHERE status <> 'ended';
