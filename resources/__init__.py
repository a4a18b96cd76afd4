"""WHERE data is and whom we tell: plain clients for storage, S3 and mail, and the Dagster resources that build them.

Nothing here knows what a study is, and nothing imports from the floors above.
"""
