"""The same training in other libraries: same initial weights, same batches, same update rule.

Imports nothing: `config` needs the names in `specs`, and everything else here needs `config`.
"""
