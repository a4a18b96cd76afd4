"""Is what the instrument wrote whole? Structure checks D1-D5 of a study's images and designs, and its health.

What belongs here: judging content, cheaply enough to do over SMB on every study. What does not: names (`standard`),
hashes and copies (`transfer`), and anything that writes.
"""
