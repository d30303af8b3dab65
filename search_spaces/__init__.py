"""Search spaces: how an Optuna trial becomes a plan."""
