"""WHEN, from the world: what Dagster looks at again and again, to start what is due.

What belongs here: thin sensors that fetch, ask the domain, and request. What does not: deciding anything.
"""
