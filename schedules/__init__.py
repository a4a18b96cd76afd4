"""WHEN, from the calendar: monthly backup and cleanup, the weekly scrub and digest, the daily inventory.

What belongs here: thin schedules. What does not: what they start.
"""
