-- additive
-- Entries of what was refused or failed: few, and looked for among very many.
CREATE INDEX audit_entry_amiss ON audit_entry (seq, out) WHERE out <> 'success';
