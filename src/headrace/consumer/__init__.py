"""Consumers: events back from a broker, to handlers. `base` dispatches, the others read one broker each."""
