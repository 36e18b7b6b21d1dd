"""Measurements. One module per benchmark, each with `run() -> Result`; `just bench NAME` prints it."""
