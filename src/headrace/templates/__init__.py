"""Templates: a prompt language with typed slots. `parser` reads it, `plan` orders it, `run` asks; `api` is the door."""
