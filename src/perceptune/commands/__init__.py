"""What the commands beside `train` do; `cli` finds them."""
