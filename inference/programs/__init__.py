"""Any Pyro program as an agent of the naming game (docs/programs.md)."""
