"""The operator's door: the `fusion` command. Each subcommand is a thin module: parse, call the domain, print."""

import logging

# What is logged here was printed already, in the words and colours of a command line; the log is for mails.
logging.getLogger(__name__).addHandler(logging.NullHandler())
