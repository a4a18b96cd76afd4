"""Observe the state every study is in, plan the difference to the declared one, and say what was done about it.

Observing is the only effect here besides locks and the release of a source; `conditions`, `judge`, `idle`, `plan` and
`recap` are pure functions over plain data. What carries a plan out is Dagster's: `studies`.
"""
