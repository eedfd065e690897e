"""What ops ask for: the state of a country, explanations, what is wrong with an installation, and retries."""
