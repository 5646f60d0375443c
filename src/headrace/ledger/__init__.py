"""The ledger: for ever, append-only, hash-chained, complete facts only.

`base` is the port, `hashing` the pure core; `memory` and `sqlite` are the stores, `registry` opens one by URL.
"""
