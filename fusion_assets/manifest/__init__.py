"""The ledger of backups: what was copied, archived, proven and released, and when; one JSON line an event.

`record` is one line, `fold` turns lines into the state of each study (both pure), `ledger` writes and reads the
monthly files, `mirror` compares them with their copies in S3, `table` checks the whole as a table.
"""
