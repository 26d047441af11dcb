-- Who was promised an action. It is given up when all of them have given it up.
CREATE TABLE promises (
    action_id INTEGER NOT NULL REFERENCES actions (id),
    holder    TEXT    NOT NULL,
    PRIMARY KEY (action_id, holder)
) STRICT;
