-- What an approval takes, frozen when the action is opened, and who gave theirs.
-- Of an action from before, none stands for one approval by any approver.
ALTER TABLE actions ADD COLUMN rules TEXT NOT NULL DEFAULT '[]';  -- JSON list
ALTER TABLE actions ADD COLUMN votes TEXT NOT NULL DEFAULT '[]';  -- JSON list
-- When further groups may approve, where a rule names any; and whether that was told.
ALTER TABLE actions ADD COLUMN escalates_at BIGINT;
ALTER TABLE actions ADD COLUMN escalated BIGINT NOT NULL DEFAULT 0 CHECK (escalated IN (0, 1));

CREATE INDEX actions_to_expire ON actions (expires_at) WHERE state = 'pending';
CREATE INDEX actions_to_escalate ON actions (escalates_at)
    WHERE state = 'pending' AND escalated = 0 AND escalates_at IS NOT NULL;

-- What the shadow policies would have taken.
ALTER TABLE shadow_decisions ADD COLUMN rules TEXT NOT NULL DEFAULT '[]';  -- JSON list

-- Who is in which group: people with accounts, and the owner of the directory.
CREATE TABLE memberships (
    person     TEXT NOT NULL,  -- in lower case
    group_name TEXT NOT NULL,
    given_by   TEXT NOT NULL CHECK (given_by IN ('admin', 'provider')),
    PRIMARY KEY (person, group_name)
);

CREATE INDEX memberships_by_group ON memberships (group_name);
