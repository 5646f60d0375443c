"""Templates: prompts with typed slots. `parser` reads them, `plan` orders them, `run` asks; `api` is the door."""
