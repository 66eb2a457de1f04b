"""Data sets: found or downloaded, checked, decoded once, split by a seed."""
