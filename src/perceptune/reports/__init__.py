"""Pages made from the stores: what a study found, what finished runs scored; trains nothing."""
