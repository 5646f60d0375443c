-- The schema as it is now: what all migrations together must arrive at (a test compares the two).
-- Plain SQLite of any version since 3.8 can read it.

-- The facts. Rows are added, never changed and never removed. `content` is the text as it is, `meta` is
-- canonical JSON, `time` is ISO 8601 in UTC. docs/ledger.md says how `hash` is made.
CREATE TABLE ledger (
    conversation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    meta TEXT NOT NULL,
    time TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (conversation, seq),
    UNIQUE (conversation, id)
);

-- Where each conversation ends, signed off. `number` is the order in which they began.
CREATE TABLE heads (
    number INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL UNIQUE,
    owner TEXT,
    count INTEGER NOT NULL,
    hash TEXT NOT NULL,
    seal TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);

-- An owner's conversations, newest first.
CREATE INDEX heads_of_owner ON heads (owner, number);

-- The whole store, signed off: one row. `key_check` tells which key the seals were made with.
CREATE TABLE total (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    facts INTEGER NOT NULL,
    conversations INTEGER NOT NULL,
    sum TEXT NOT NULL,
    seal TEXT NOT NULL,
    key_check TEXT NOT NULL
);

-- What is known of runs beside their facts. Operational: rows change until the run has ended. `seal` tells
-- whether a row is as it was written.
CREATE TABLE runs (
    run TEXT PRIMARY KEY,
    conversation TEXT NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    status TEXT NOT NULL,
    created TEXT NOT NULL,
    metadata TEXT NOT NULL,
    idempotency_key TEXT,
    outcome TEXT,
    summary TEXT,
    worker TEXT NOT NULL,
    seal TEXT NOT NULL
) WITHOUT ROWID;

-- An owner's runs, newest first.
CREATE INDEX runs_of_owner ON runs (owner, run);

-- A key names one run of an owner.
CREATE UNIQUE INDEX runs_by_key ON runs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The few runs that are open, by the worker that holds them.
CREATE INDEX runs_open ON runs (worker, run) WHERE status <> 'ended';
