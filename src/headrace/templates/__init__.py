"""Templates: a prompt language with typed slots. `parser` reads it, `plan` looks at it, `run` asks; `api` is the door."""
