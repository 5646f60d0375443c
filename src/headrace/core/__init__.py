"""The core: what a program, a sink and a consumer say to each other about a run. Next: `events`."""
