"""The evidence package: a ZIP file from which an outsider checks an answer of the ledger, without the ledger.

What it holds is specified in docs/reference/evidence-package.md. It is written by

    writing   all of it, from one snapshot of the database
    question  what is asked, and what the package claims
    answer    the answer's tables, as CSV and as JSON
    log       leaves, tiles, checkpoint, and proofs of single events
    bodies    contents and payloads, as far as they are there
    report    what people read first
    archive   a ZIP file with a manifest, there whole or not at all
"""
