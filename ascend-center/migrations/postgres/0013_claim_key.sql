-- The key of the request, or of the process, that claimed the decision.
ALTER TABLE actions ADD COLUMN claim_key TEXT;
