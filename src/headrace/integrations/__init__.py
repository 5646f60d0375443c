"""Bridges to what others have: each its own file and its own extra, none loaded before it is asked for."""
