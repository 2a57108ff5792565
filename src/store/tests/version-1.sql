-- A list of version 1, by hand.
CREATE TABLE module (
    uid TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    background INTEGER NOT NULL,
    args TEXT,
    parameters TEXT NOT NULL,
    added INTEGER NOT NULL,
    waiting INTEGER NOT NULL
) STRICT;
CREATE INDEX module_position ON module (position);
CREATE TABLE set_aside (
    uid TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    background INTEGER NOT NULL,
    args TEXT,
    parameters TEXT NOT NULL,
    added INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
INSERT INTO module VALUES ('00000001-0000-4000-8000-000000000000', 1, 'clock', 0, '{"number": 1}', '{"title": "one"}', 1700000000001, 0);
INSERT INTO module VALUES ('00000002-0000-4000-8000-000000000000', 2, 'clock', 0, '{"number": 2}', '{}', 1700000000002, 1);
INSERT INTO module VALUES ('00000003-0000-4000-8000-000000000000', -1, 'clock', 0, '{"number": 3}', '{}', 1700000000003, 0);
INSERT INTO module VALUES ('00000009-0000-4000-8000-000000000000', 4, 'wall', 1, NULL, '{}', 1700000000009, 0);
INSERT INTO set_aside VALUES ('00000004-0000-4000-8000-000000000000', 'clock', 0, NULL, '{}', 1700000000004, 1700000001000, 'failed 3 times in a row: did not connect');
PRAGMA user_version = 1;
