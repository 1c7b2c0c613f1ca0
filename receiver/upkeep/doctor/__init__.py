"""The checks of `receiver doctor`, one module for each kind; `findings` says what a check is."""
