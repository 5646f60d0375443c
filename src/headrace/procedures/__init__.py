"""Procedures: agents scripted in Lua. The program runs in a child process; all that it does, the host does for it.

`child` and `prelude.lua` are the far side, `host` this one. Next: `base`.
"""
