"""What streaming costs here, next to what it could cost and to what others take.

    python -m benchmarks [--quick] [NAME …]

Every figure is measured in one run with its floor (the same work by hand) and its peers, in interleaved
rounds, so that a busy machine troubles all of them alike; the median of the rounds counts. CPU time is that
of the measured process alone: the far side, and whoever reads, are other processes. Results are printed
against the targets of `docs/performance.md`. Next: `measure`, then `upstream`.
"""
