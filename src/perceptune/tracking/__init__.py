"""Where runs are recorded. Only this package, and `model`, know MLflow."""
