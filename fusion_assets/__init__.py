"""WHAT must be true of a lab's data: the domain, one room per concern, and the Dagster assets made of it.

Only ``studies`` (and later ``strips``) may import Dagster; every other room is plain Python over plain data.
"""
