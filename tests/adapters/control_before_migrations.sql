BEGIN TRANSACTION;
CREATE TABLE answers (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    request_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    incident TEXT NOT NULL,
    by TEXT NOT NULL,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "journal" VALUES(1,1767225600000000000,'note.added','inc_0','person:ana','{}','0000000000000000000000000000000000000000000000000000000000000000','da5dbc453e4f824f9775938c6eed41ea55471422613786f53b0f26b981c948d2');
INSERT INTO "journal" VALUES(2,1767225600000000000,'note.added','inc_1','person:ana','{"n":1,"none":null,"share":0.1}','da5dbc453e4f824f9775938c6eed41ea55471422613786f53b0f26b981c948d2','25a8160a3b3862dead90080f6fc248c2696b971ef313c8fa9f4cecc81f47d3ae');
INSERT INTO "journal" VALUES(3,1767225600000000000,'note.added','inc_0','person:ana','{"list":[1,[2,{"a":true}]],"text":"ü 🚦 \u0000 \"''"}','25a8160a3b3862dead90080f6fc248c2696b971ef313c8fa9f4cecc81f47d3ae','c194981a5dc0ba05e8a3ea0d752d7836e6d2a5e2c028e178a0315ba3c60c06b3');
CREATE TABLE positions (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
INSERT INTO "positions" VALUES('findings',7);
CREATE TABLE sessions (
    secret_digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    agent TEXT NOT NULL,
    secret_digest TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL,
    revoked_ns INTEGER NOT NULL
) STRICT;
INSERT INTO "tokens" VALUES('tok_1','ana','admin','','d1',5,0);
CREATE INDEX journal_incident ON journal (incident, seq);
CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_cut BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
DELETE FROM "sqlite_sequence";
COMMIT;
