-- Every statement of the shelf, by name. `shelf.py` reads this file.

-- name: make
CREATE TABLE IF NOT EXISTS states (
    number INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL UNIQUE,
    fold TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    state BLOB NOT NULL,
    sum BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS nodes (
    number INTEGER, seq INTEGER, kind TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (number, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS words (
    number INTEGER, word TEXT, seqs BLOB NOT NULL, PRIMARY KEY (number, word)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (
    number INTEGER, seq INTEGER, seqs BLOB NOT NULL, PRIMARY KEY (number, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS edges (
    number INTEGER, seq INTEGER, place INTEGER, source TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (number, seq, place)
) WITHOUT ROWID;

-- name: state
SELECT number, fold, seq, hash, state, sum FROM states WHERE conversation = ?;

-- name: seq
-- Up to which fact the shelf has a conversation now; asked before every reading.
SELECT seq FROM states WHERE number = ? AND hash = ?;

-- name: put_state
INSERT INTO states (conversation, fold, seq, hash, state, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (conversation) DO UPDATE SET fold = ?2, seq = ?3, hash = ?4, state = ?5, sum = ?6
RETURNING number;

-- name: put_node
INSERT OR REPLACE INTO nodes (number, seq, kind, label) VALUES (?, ?, ?, ?);

-- name: put_words
INSERT OR REPLACE INTO words (number, word, seqs) VALUES (?, ?, ?);

-- name: put_links
INSERT OR REPLACE INTO links (number, seq, seqs) VALUES (?, ?, ?);

-- name: put_edge
INSERT OR REPLACE INTO edges (number, seq, place, source, kind, target) VALUES (?, ?, ?, ?, ?, ?);

-- name: words
SELECT word, seqs FROM words WHERE number = ? AND word IN (SELECT value FROM json_each(?));

-- name: links
SELECT seq, seqs FROM links WHERE number = ? AND seq IN (SELECT value FROM json_each(?));

-- name: nodes
SELECT seq, kind, label FROM nodes WHERE number = ? AND seq IN (SELECT value FROM json_each(?));

-- name: page
SELECT seq, kind, label FROM nodes WHERE number = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3;

-- name: edges
SELECT source, kind, target FROM edges WHERE number = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq, place;

-- name: forget
DELETE FROM states WHERE number = ?1;

-- name: forget_nodes
DELETE FROM nodes WHERE number = ?1;

-- name: forget_words
DELETE FROM words WHERE number = ?1;

-- name: forget_links
DELETE FROM links WHERE number = ?1;

-- name: forget_edges
DELETE FROM edges WHERE number = ?1;
