"""The Dagster side of a study: five assets, their checks, the job, and running a plan with them.

Thin: the work is done by the domain rooms; here it is fetched, called and reported.
"""
