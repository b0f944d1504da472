-- Those that are under way: few, of however many there ever were.
CREATE INDEX run_active ON run (tenant_id, id) WHERE ended_at IS NULL;
