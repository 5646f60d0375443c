"""The HTTP client: starts, follows and stops runs of a server, and comes back by itself when a line breaks.

`progress` and `following` are the rules without a network, `remote` the shell on aiohttp, `sync` its blocking
twin.
"""

from headrace.client.remote import Client
from headrace.client.sync import SyncClient

__all__ = ["Client", "SyncClient"]
