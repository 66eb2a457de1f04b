"""Pages on the findings of studies and the scores of finished runs; trains nothing."""
