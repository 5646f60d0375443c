"""Many rows through one template: read, asked side by side, written, compared, and gone on with after a break.

    batch = headrace.Batch("review.hr.md", "openai:gpt-4o-mini", concurrency=20)
    async with batch.stream(headrace.batch.read(["reviews.csv"]), journal="out.csv.journal") as run:
        async for event in run:
            if event.type == "row":
                print(event.index, event.values, event.error)
    report = run.report()

`api` runs them, `rows` and `sheets` are the files, `journal` is what an interrupted batch goes on from, `agreement`
the figures. Nothing of HTTP or terminals here. Next: `api`.
"""

from headrace.batch.agreement import Comparison, Label, compare
from headrace.batch.api import Batch, BatchDone, BatchRun, Report, RowDone, RowStarted, RowValue, SyncBatchRun
from headrace.batch.rows import read
from headrace.batch.sheets import write

__all__ = [
    "Batch",
    "BatchDone",
    "BatchRun",
    "Comparison",
    "Label",
    "Report",
    "RowDone",
    "RowStarted",
    "RowValue",
    "SyncBatchRun",
    "compare",
    "read",
    "write",
]
