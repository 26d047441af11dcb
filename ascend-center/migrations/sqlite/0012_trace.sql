-- The span in which the call was made, as W3C's traceparent: what is decided
-- later, elsewhere, is linked to it.
ALTER TABLE actions ADD COLUMN traceparent TEXT;
