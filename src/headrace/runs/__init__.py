"""The run engine: attempts, retries, failover, stop, policies; the only writer of run logs."""
