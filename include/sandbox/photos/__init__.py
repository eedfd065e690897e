"""As many different real photographs as wanted."""
