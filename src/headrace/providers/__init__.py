"""Providers: who is asked. `base` is the port, `registry` finds one by name, each other file is one of them."""
