-- 0001: the ledger, its heads and the runs. Never edit a migration that was released; add the next one.

-- The facts. Rows are added, never changed and never removed. `meta` is canonical JSON as text, because it is
-- hashed as that text. PostgreSQL's text cannot hold NUL: `content` is without them, `nuls` says where they were
-- (characters from 0, in order; null for none, the usual case). docs/ledger.md says how `hash` is made.
CREATE TABLE ledger (
    conversation TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    meta TEXT NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    nuls INTEGER[],
    PRIMARY KEY (conversation, seq),
    UNIQUE (conversation, id)
);

-- Where each conversation ends, signed off. `number` is the order in which they began. Every turn changes its
-- row twice, so pages keep room for the next version of it.
CREATE TABLE heads (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation TEXT COLLATE "C" NOT NULL UNIQUE,
    owner TEXT COLLATE "C",
    count BIGINT NOT NULL,
    hash TEXT NOT NULL,
    seal TEXT NOT NULL,
    created TIMESTAMPTZ NOT NULL,
    updated TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 70);

-- An owner's conversations, newest first.
CREATE INDEX heads_of_owner ON heads (owner, number);

-- The whole store, signed off: one row, which every writing transaction locks first. `key_check` tells which key
-- the seals were made with.
CREATE TABLE total (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    facts BIGINT NOT NULL,
    conversations BIGINT NOT NULL,
    sum TEXT NOT NULL,
    seal TEXT NOT NULL,
    key_check TEXT NOT NULL
) WITH (fillfactor = 10);

-- What is known of runs beside their facts. Operational: rows change until the run has ended. `seal` tells
-- whether a row is as it was written.
CREATE TABLE runs (
    run TEXT COLLATE "C" PRIMARY KEY,
    conversation TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    status TEXT NOT NULL,
    created TIMESTAMPTZ NOT NULL,
    metadata TEXT NOT NULL,
    idempotency_key TEXT COLLATE "C",
    outcome TEXT,
    summary TEXT,
    worker TEXT COLLATE "C" NOT NULL,
    seal TEXT NOT NULL
) WITH (fillfactor = 70);

-- An owner's runs, newest first.
CREATE INDEX runs_of_owner ON runs (owner, run);

-- A key names one run of an owner.
CREATE UNIQUE INDEX runs_by_key ON runs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The few runs that are open, by the worker that holds them.
CREATE INDEX runs_open ON runs (worker, run) WHERE status <> 'ended';
