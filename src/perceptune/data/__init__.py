"""Data sets: found or downloaded, checked, decoded once, split with a seed."""
