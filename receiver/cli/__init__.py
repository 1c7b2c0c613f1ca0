"""The commands of `receiver`: they read options, call the wings below, and print. They decide nothing themselves."""
