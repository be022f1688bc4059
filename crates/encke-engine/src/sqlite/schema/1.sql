-- Numbers that belong to the whole store: its epoch, and a hash of the retention rules that it was last opened with.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- A row stays when its log is empty: `head` is the newest offset ever given, and must never be given again.
-- `tail` is the oldest kept offset, head + 1 when nothing is kept. `due` is not later than the moment when the oldest kept message is too old.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,
    tail INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    due INTEGER
);
CREATE INDEX channels_due ON channels (due) WHERE due IS NOT NULL;

-- A user is the own channel of the same id, and what is known besides.
CREATE TABLE users (
    channel INTEGER PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER,
    handed INTEGER NOT NULL DEFAULT 0,
    shown INTEGER NOT NULL DEFAULT 0
);

-- What a message says, once for all the logs that it is in. `shared`: it is in several, and `shares` counts in how many it still is.
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY,
    message TEXT NOT NULL,
    kind INTEGER NOT NULL,
    sender TEXT,
    time INTEGER NOT NULL,
    expires INTEGER,
    size INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE shares (
    body INTEGER PRIMARY KEY,
    logs INTEGER NOT NULL
);

CREATE TABLE messages (
    channel INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    body INTEGER NOT NULL,
    PRIMARY KEY (channel, offset)
) WITHOUT ROWID;

-- A push has the id of its body, and outlives it until `until`.
CREATE TABLE pushes (
    id INTEGER PRIMARY KEY,
    message TEXT NOT NULL UNIQUE,
    expires INTEGER,
    until INTEGER NOT NULL
);
CREATE INDEX pushes_until ON pushes (until);

-- state: 0 queued, 1 delivered, 2 shown, 3 expired. Found by push and user, and while it can still change also by its place.
CREATE TABLE receipts (
    push INTEGER NOT NULL,
    user TEXT NOT NULL,
    channel INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (push, user)
) WITHOUT ROWID;
CREATE INDEX receipts_place ON receipts (channel, offset) WHERE state < 2;

-- `time`: how much time had gone by, in milliseconds, which is not the clock's time. `places`: pairs of channel and offset, each number in groups of seven bits.
CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    time INTEGER NOT NULL,
    message TEXT NOT NULL,
    places BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_time ON keys (time);

-- Written and emptied again to find out whether there is space.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
);
