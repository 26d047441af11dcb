-- The same condition without a list: SQLite makes a table of a list, each time that a row
-- is written.
DROP INDEX actions_by_state;
CREATE INDEX actions_by_state ON actions (state, id)
    WHERE state <> 'pending' AND state <> 'executing' AND state <> 'completed';
