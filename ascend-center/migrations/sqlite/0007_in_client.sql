-- 1 where every policy that asked for an approval takes the word of the client's
-- user for it.
ALTER TABLE actions ADD COLUMN in_client INTEGER NOT NULL DEFAULT 0 CHECK (in_client IN (0, 1));
