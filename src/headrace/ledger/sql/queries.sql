-- Every statement that the SQLite ledger runs, by name. `queries.py` reads this file.

-- name: fact_by_id
-- The fact a repeated write returns. By the index (conversation, id).
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash
FROM ledger WHERE conversation = ? AND id = ?;

-- name: facts
-- A page of a conversation, in order. By the index (conversation, seq).
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash
FROM ledger WHERE conversation = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3;

-- name: facts_of_kinds
-- The same, of some kinds only: a JSON list.
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash
FROM ledger WHERE conversation = ?1 AND seq > ?2 AND kind IN (SELECT value FROM json_each(?4))
ORDER BY seq LIMIT ?3;

-- name: tail
-- The last facts of a conversation, last first. By the index (conversation, seq), backwards.
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash
FROM ledger WHERE conversation = ?1 ORDER BY seq DESC LIMIT ?2;

-- name: tail_of_kinds
-- The same, of some kinds only: a JSON list.
SELECT conversation, seq, id, kind, content, meta, time, prev_hash, hash
FROM ledger WHERE conversation = ?1 AND kind IN (SELECT value FROM json_each(?3))
ORDER BY seq DESC LIMIT ?2;

-- name: insert_fact
INSERT INTO ledger (conversation, seq, id, kind, content, meta, time, prev_hash, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: head
-- Where a conversation ends; read inside the transaction that adds to it.
SELECT conversation, owner, count, hash, seal FROM heads WHERE conversation = ?;

-- name: insert_head
-- A conversation's first fact.
INSERT INTO heads (conversation, owner, count, hash, seal, created, updated)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6);

-- name: update_head
-- A conversation's next fact.
UPDATE heads SET owner = ?2, count = ?3, hash = ?4, seal = ?5, updated = ?6 WHERE conversation = ?1;

-- name: conversations
-- Newest first, of everybody.
SELECT conversation, owner, count, hash, created, updated
FROM heads WHERE number < coalesce(?1, 9223372036854775807) ORDER BY number DESC LIMIT ?2;

-- name: conversations_of_owner
-- Newest first, of one owner. By the index heads_of_owner, backwards.
SELECT conversation, owner, count, hash, created, updated
FROM heads WHERE owner = ?3 AND number < coalesce(?1, 9223372036854775807) ORDER BY number DESC LIMIT ?2;

-- name: conversation_number
-- The place of a conversation among all, for paging.
SELECT number FROM heads WHERE conversation = ?;

-- name: next_conversation
-- The name after a name, for export. By the unique index.
SELECT min(conversation) FROM heads WHERE conversation > ?;

-- name: total
-- The signed-off state of the store; read once a transaction.
SELECT facts, conversations, sum, seal FROM total;

-- name: update_total
-- Written once a transaction.
UPDATE total SET facts = ?, conversations = ?, sum = ?, seal = ?;

-- name: insert_total
-- An empty store, signed off with the key of who made it.
INSERT INTO total (one, facts, conversations, sum, seal, key_check) VALUES (1, 0, 0, ?, ?, ?);

-- name: key_check
-- Which key the store was made with.
SELECT key_check FROM total;

-- name: run
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE run = ?;

-- name: run_by_key
-- By the index runs_by_key.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE owner = ? AND idempotency_key = ?;

-- name: runs
-- Newest first, of everybody; ids sort by time. The last character sorts after every id.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE run < coalesce(?1, char(1114111)) ORDER BY run DESC LIMIT ?2;

-- name: runs_of_owner
-- Newest first, of one owner. By the index runs_of_owner, backwards.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary
FROM runs WHERE owner = ?3 AND run < coalesce(?1, char(1114111)) ORDER BY run DESC LIMIT ?2;

-- name: insert_run
INSERT INTO runs (run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary,
    worker, seal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_run
-- In the transaction that writes its ending.
UPDATE runs SET status = 'ended', outcome = ?, summary = ?, seal = ? WHERE run = ?;

-- name: open_workers
-- Workers that hold open runs. By the index runs_open.
SELECT DISTINCT worker FROM runs WHERE status <> 'ended';

-- name: open_runs_of_worker
-- By the index runs_open.
SELECT run FROM runs WHERE status <> 'ended' AND worker = ? ORDER BY run;

-- name: verify_heads
-- Verify: where every conversation ends.
SELECT CAST(conversation AS BLOB), CAST(owner AS BLOB), count, CAST(hash AS BLOB), CAST(seal AS BLOB)
FROM heads NOT INDEXED ORDER BY number;

-- name: verify_next_conversation
-- Verify: the next name that has facts, by the index alone, so that facts without a head are found too.
SELECT min(conversation) FROM ledger WHERE conversation > ?;

-- name: verify_next_row
-- Verify: the next fact by the index alone, so that a torn page of facts still has its rows named.
SELECT seq, rowid FROM ledger WHERE conversation = ? AND seq > ? ORDER BY seq LIMIT 1;

-- name: verify_row
-- Verify: the fact itself, from the table alone. As bytes: a flipped bit may not be UTF-8 any more.
SELECT CAST(conversation AS BLOB), seq, CAST(kind AS BLOB), CAST(content AS BLOB), CAST(meta AS BLOB),
    CAST(prev_hash AS BLOB), CAST(hash AS BLOB), CAST(time AS BLOB)
FROM ledger WHERE rowid = ?;

-- name: verify_runs
-- Verify: all runs as they are written, and their seals.
SELECT run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary, seal
FROM runs ORDER BY run;

-- name: verify_lost_conversations
-- Verify: conversations that runs speak of and that are gone.
SELECT DISTINCT conversation FROM runs WHERE conversation NOT IN (SELECT conversation FROM heads) LIMIT 100;

-- name: verify_open_runs
-- Verify: how many runs have no ending yet. By the index runs_open.
SELECT count(*) FROM runs WHERE status <> 'ended';

-- name: verify_file
-- Verify: what SQLite itself finds wrong with the file.
PRAGMA integrity_check(20);
