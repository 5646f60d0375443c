"""The HTTP server: starts runs, streams them to any number of readers, and serves the page.

`app` puts it together and `runner` runs it; `streams` is the hot path. Next: `service`.
"""
