"""The operator's door: the `fusion` command. Each subcommand is a thin module: parse, call the domain, print."""
