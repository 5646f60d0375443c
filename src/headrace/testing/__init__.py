"""Public test tools: what proves Headrace on real faults, for its own tests and for yours.

`engine` is a real inference engine without downloaded weights (`bigram` writes its model), `relay` a TCP
relay that can misbehave between any two parties (`framing` is what it knows of HTTP), and `playback` a
server that answers from scripts and recordings. Nothing of the running product may import this room.
This page imports none of its modules: each has dependencies of its own.
"""
