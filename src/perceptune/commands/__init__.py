"""The commands, a module for each; `cli` lists them."""
