"""Sans-IO machines: bytes or values in, values out; no socket, no clock, no ids made inside."""
